/* The strongest links of one attention matrix, from rows given one by one. */
import type { LinksAnswer } from "./answers";
import type { Links } from "./state";

/** A picture of more lines says nothing; the rest is in `leftOut`. */
export const MOST_LINKS = 5000;

/** The top `k` links, or those above a threshold, heaviest first, with the share of the whole mass that they leave out. */
export function strongest(n: number, rowOf: (query: number, out: Float32Array) => void, wanted: Links): LinksAnswer {
  const all = new Float32Array(n * n);
  let mass = 0;
  for (let query = 0; query < n; query++) {
    const row = all.subarray(query * n, (query + 1) * n);
    rowOf(query, row);
    for (const v of row) mass += v;
  }
  const above = wanted.by === "above" ? wanted.above : threshold(all, wanted.k);
  const found: number[] = [];
  for (let i = 0; i < all.length; i++) if (wanted.by === "above" ? all[i]! > above : all[i]! >= above) found.push(i);
  found.sort((a, b) => all[b]! - all[a]! || a - b);
  const kept = found.slice(0, wanted.by === "above" ? MOST_LINKS : wanted.k);
  const weights = Float32Array.from(kept, (i) => all[i]!);
  return {
    queries: Int32Array.from(kept, (i) => Math.floor(i / n)),
    keys: Int32Array.from(kept, (i) => i % n),
    weights,
    leftOut: mass > 0 ? Math.max(0, 1 - weights.reduce((sum, v) => sum + v, 0) / mass) : 0,
    total: wanted.by === "above" ? found.length : kept.length,
  };
}

/** The k-th largest value. */
function threshold(values: Float32Array, k: number): number {
  const sorted = values.slice().sort();
  return sorted[Math.max(0, sorted.length - k)]!;
}
