/* What stands under the pointer, in words and numbers. */

/** Place of a value among the patches, 1 = largest. */
export function rankOf(values: Float32Array, index: number): number {
  const v = values[index]!;
  let rank = 1;
  for (const other of values) if (other > v) rank++;
  return rank;
}

/** A number for people: so many significant digits, no trailing zeros, a true minus sign; the same as `views/plain.py short`. */
export function short(value: number | null, digits = 3): string {
  if (value === null || Number.isNaN(value)) return "undefined";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa] = value.toExponential(digits - 1).split("e");
    if (exponent < 0 || exponent > 4) return `${Number(mantissa)}e${exponent}`.replaceAll("-", "−");
    return Number(value.toPrecision(digits)).toFixed(0).replace("-", "−");
  }
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

/** A share as a percentage; tiny is not shown as none, nor almost all as all. */
export function percent(share: number): string {
  const value = 100 * share;
  if (value === 0) return "0 %";
  if (value > 0 && value < 0.1) return "< 0.1 %";
  if (value > 99.9 && value < 100) return "> 99.9 %";
  return value < 99.95 ? `${value.toFixed(1)} %` : "100 %";
}
