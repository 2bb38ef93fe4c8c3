/* One fixed random order of the points: no label lies on top of all others, and the first k of it are an even draw of k. */

/** A permutation of 0..n−1, the same for the same n. */
export function orderOf(n: number): Uint32Array {
  const order = new Uint32Array(n);
  let seed = 0x9e3779b9;
  for (let i = 0; i < n; i++) {
    // Fisher–Yates inside out, with xorshift32: 2^32 is far above the number of points, its bias below what a pixel shows
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    const j = (seed >>> 0) % (i + 1);
    order[i] = order[j]!;
    order[j] = i;
  }
  return order;
}

/** `[m, dims]` positions in that order. */
export function inOrder(data: Uint16Array, dims: number, order: Uint32Array): Uint16Array {
  const out = new Uint16Array(data.length);
  for (let i = 0; i < order.length; i++) {
    const from = order[i]! * dims;
    const to = i * dims;
    for (let axis = 0; axis < dims; axis++) out[to + axis] = data[from + axis]!;
  }
  return out;
}

/** The rows with a mark, ascending; `mask` is in drawing order. */
export function rowsMarked(mask: Uint8Array, order: Uint32Array): Uint32Array {
  const marked = new Uint8Array(mask.length);
  let count = 0;
  for (let i = 0; i < mask.length; i++)
    if (mask[i]) {
      marked[order[i]!] = 1;
      count++;
    }
  const rows = new Uint32Array(count);
  for (let row = 0, at = 0; at < count; row++) if (marked[row]) rows[at++] = row;
  return rows;
}
