/* Numbers as they travel: IEEE half floats, and the 8-bit square-root code with exact top values. */

let halves: Float32Array | null = null;

/** All 65,536 half floats. */
function halfTable(): Float32Array {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
    else if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
    else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halves;
}

/** Half floats (as their bits) to float32; every half is a float32 exactly. */
export function fromHalf(bits: Uint16Array): Float32Array {
  const table = halfTable();
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]!]!;
  return out;
}

const shares = Float32Array.from({ length: 256 }, (_, u) => u / 255);

/** One coded row: `value = max · (u / 255)²`, in float32 as Python has it. */
export function fromRoots(code: Uint8Array, max: number, out: Float32Array, at = 0): void {
  for (let i = 0; i < code.length; i++) {
    const share = shares[code[i]!]!;
    out[at + i] = Math.fround(max * share) * share;
  }
}

/** Base64 to bytes, without a detour through a URL. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const native = (Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  if (native) return native.call(Uint8Array, text); // several times quicker, where the browser has it
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
