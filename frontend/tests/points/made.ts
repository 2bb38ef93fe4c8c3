/* Seeded clouds for tests. */

/** Numbers in 0..1, the same each time. */
export function draws(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** uint16 `[m, dims]`, many of them in the same places. */
export function positions(count: number, dims: number, seed: number, steps = 65536): Uint16Array {
  const draw = draws(seed);
  return Uint16Array.from({ length: count * dims }, () => Math.floor(Math.floor(draw() * steps) * (65535 / (steps - 1))));
}
