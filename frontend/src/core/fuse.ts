/* One layer's heads to one row. */
import type { Rows } from "./answers";
import { stackOf, type Source } from "./catalogue";
import { ViewError } from "./errors";

/** The row `[n]` of a layer for "mean", "max", "min" or a head's number. */
export function headRow(source: Source, rows: Rows, layer: number, head: string): Float32Array {
  const { n } = rows;
  if (!rows.heads) {
    if (head !== "mean") throw new ViewError("for this query only head means are carried: choose head mean");
    return rows.values.subarray(layer * n, (layer + 1) * n);
  }
  const stack = stackOf(source);
  const first = stack.first[layer]!;
  const heads = stack.heads[layer]!;
  if (/^\d+$/.test(head)) return rows.values.subarray((first + Number(head)) * n, (first + Number(head) + 1) * n);
  const out = new Float32Array(n);
  const sum = new Float64Array(n);
  let known = 0;
  for (let h = 0; h < heads; h++) {
    const at = (first + h) * n;
    if (rows.values.subarray(at, at + n).every(Number.isNaN)) continue; // a pool with fewer heads than its block: no such row
    known++;
    for (let key = 0; key < n; key++) {
      const v = rows.values[at + key]!;
      sum[key] = sum[key]! + v;
      out[key] = known === 1 ? v : head === "max" ? Math.max(out[key]!, v) : Math.min(out[key]!, v);
    }
  }
  if (known === 0) return out.fill(NaN);
  return head === "mean" ? Float32Array.from(sum, (v) => v / known) : out;
}
