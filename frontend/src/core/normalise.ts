/* Normalisations of one map's patch values, always named beside the picture. */
import type { Norm } from "./state";

export const NORMS: Record<Norm, string> = {
  raw: "raw values",
  softmax: "softmax over the patches of each map",
  minmax: "each map stretched from its smallest to its largest value",
  rank: "rank among the patches of each map, 0 to 1",
};

/** The values a map shows: raw `v`; softmax `exp(v−max)/Σ`; minmax `(v−min)/(max−min)` (constant: 0); rank = average rank / (P−1). Only finite values count, all others become NaN. */
export function normalised(values: Float32Array, how: Norm): Float32Array {
  if (how === "raw") return values;
  if (how === "softmax") return softmax(values);
  if (how === "minmax") return minmax(values);
  return ranks(values);
}

function extremes(values: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    if (!Number.isFinite(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}

function softmax(values: Float32Array): Float32Array {
  const [, high] = extremes(values);
  const powers = Float64Array.from(values, (v) => (Number.isFinite(v) ? Math.exp(v - high) : NaN));
  let total = 0;
  for (const p of powers) if (!Number.isNaN(p)) total += p;
  return Float32Array.from(powers, (p) => p / total);
}

function minmax(values: Float32Array): Float32Array {
  const [low, high] = extremes(values);
  const width = high - low;
  return values.map((v) => (!Number.isFinite(v) ? NaN : width > 0 ? (v - low) / width : 0));
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** A whole number that orders as the float does. */
function ordered(value: number): number {
  float[0] = value + 0; // −0 and 0 are one value
  const raw = bits[0]!;
  return raw & 0x80000000 ? 0xffffffff - raw : raw + 0x80000000;
}

const INDEX = 2 ** 20;

function ranks(values: Float32Array): Float32Array {
  const keys = new Float64Array(values.length);
  let known = 0;
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) keys[known++] = ordered(values[i]!) * INDEX + i;
  const sorted = keys.subarray(0, known).sort();
  const out = new Float32Array(values.length).fill(NaN);
  for (let from = 0; from < known; ) {
    const value = Math.floor(sorted[from]! / INDEX);
    let to = from;
    while (to < known && Math.floor(sorted[to]! / INDEX) === value) to++;
    const rank = known > 1 ? (from + to - 1) / 2 / (known - 1) : 0;
    for (let i = from; i < to; i++) out[sorted[i]! % INDEX] = rank;
    from = to;
  }
  return out;
}
