/* Rollout of any query from the head means a file carries: `w · Â_{L−1} … Â_0`, `Â = (1 − r)·F + r·I` (Abnar and Zuidema, ACL 2020). */

export interface Means {
  layers: number;
  n: number;
  /** Writes one row of one layer's head mean. */
  row(layer: number, query: number, out: Float32Array): void;
}

/** One row of the rollout `[n]`; `weights` are those of the query. Rows are normalised: coded ones sum to one only nearly. */
export function rolloutFrom(means: Means, weights: Float64Array, residual: number, discard: number, patches: number[]): Float64Array {
  const { n } = means;
  let vector = Float64Array.from(weights);
  const row = new Float32Array(n);
  for (let layer = means.layers - 1; layer >= 0; layer--) {
    const next = vector.map((v) => residual * v);
    for (let query = 0; query < n; query++) {
      const weight = vector[query]!;
      if (weight === 0) continue;
      means.row(layer, query, row);
      discardLow(row, discard, patches);
      let total = 0;
      for (let key = 0; key < n; key++) total += row[key]!;
      if (total === 0) continue;
      const part = ((1 - residual) * weight) / total;
      for (let key = 0; key < n; key++) next[key] = next[key]! + part * row[key]!;
    }
    vector = next;
  }
  return vector;
}

/** Sets the lowest ⌊share · P⌋ patch columns to zero; values equal to the smallest one kept are kept too. */
function discardLow(row: Float32Array, share: number, patches: number[]): void {
  const count = Math.floor(share * patches.length + 1e-9);
  if (count === 0) return;
  const kept = Float32Array.from(patches, (token) => row[token]!).sort()[count]!;
  for (const token of patches) if (row[token]! < kept) row[token] = 0;
}
