/* Which points lie within an outline: even-odd, with the outline's edges sorted into bands so that a point is tested against the few beside it. */
import type { Outline } from "../core/clouds";
import { HIDDEN } from "./colours";
import type { Plane } from "./project";

const BANDS = 1024;

interface Bands {
  low: number;
  step: number;
  /** Edges of band b: `edges[first[b]..first[b + 1]]`. */
  first: Int32Array;
  edges: Int32Array;
}

function bandsOf(outline: Outline, low: number, high: number): Bands {
  const step = (high - low) / BANDS || 1;
  const lists: number[][] = Array.from({ length: BANDS }, () => []);
  const band = (v: number) => Math.min(Math.max(Math.floor((v - low) / step), 0), BANDS - 1);
  outline.forEach(([, v], i) => {
    const before = outline[(i + outline.length - 1) % outline.length]![1];
    // one band more on either side: a point's band is found by the same division, which may round the other way
    const [from, to] = [Math.max(band(Math.min(v, before)) - 1, 0), Math.min(band(Math.max(v, before)) + 1, BANDS - 1)];
    for (let b = from; b <= to; b++) lists[b]!.push(i);
  });
  const first = new Int32Array(BANDS + 1);
  lists.forEach((list, b) => (first[b + 1] = first[b]! + list.length));
  return { low, step, first, edges: Int32Array.from(lists.flat()) };
}

/** Uint8 `[m]` in drawing order: 1 where a point that is shown lies within the outline (corners in the plane's own units). */
export function within(outline: Outline, data: Uint16Array, plane: Plane, shade: Uint8Array): Uint8Array {
  const mask = new Uint8Array(shade.length);
  const [us, vs] = [outline.map((corner) => corner[0]), outline.map((corner) => corner[1])];
  const [left, right, low, high] = [Math.min(...us), Math.max(...us), Math.min(...vs), Math.max(...vs)];
  const bands = bandsOf(outline, low, high);
  const [corners, dims] = [outline.length, plane.dims];
  const [cu, cv] = [Float64Array.from(us), Float64Array.from(vs)];
  const [ua, ub, uc, ud] = plane.u;
  const [va, vb, vc, vd] = plane.v;
  const { first, edges, step } = bands;
  for (let i = 0; i < mask.length; i++) {
    if (shade[i] === HIDDEN) continue;
    const p = data[dims * i]!;
    const q = data[dims * i + 1]!;
    const r = dims === 3 ? data[3 * i + 2]! : 0;
    const u = ua * p + ub * q + uc * r + ud;
    const v = va * p + vb * q + vc * r + vd;
    if (u < left || u > right || v < low || v > high) continue;
    const band = Math.min(Math.floor((v - low) / step), BANDS - 1);
    let inside = 0;
    for (let e = first[band]!; e < first[band + 1]!; e++) {
      const a = edges[e]!;
      const b = a === 0 ? corners - 1 : a - 1;
      if (cv[a]! > v !== cv[b]! > v && u < ((cu[b]! - cu[a]!) * (v - cv[a]!)) / (cv[b]! - cv[a]!) + cu[a]!) inside ^= 1;
    }
    mask[i] = inside;
  }
  return mask;
}

const MOST_CORNERS = 240;
const rounded = (value: number): number => Number(value.toFixed(6));

/** A drawn path as it stands in the address: corners nearer to the one before than `apart` are left out, and never more than can be kept. */
export function outlineOf(path: Outline, apart: number): Outline {
  const out: Outline = [];
  for (const [u, v] of path) {
    const last = out[out.length - 1];
    if (!last || Math.hypot(u - last[0], v - last[1]) >= apart) out.push([rounded(u), rounded(v)]);
  }
  return out.length > MOST_CORNERS ? outlineOf(path, apart * 1.5) : out;
}
