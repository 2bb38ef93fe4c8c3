/* Which points lie within an outline, by the even-odd rule. A coarse grid answers for almost all of them: a cell that no edge comes near is inside
   or outside as a whole. The few points in the other cells are tested one by one, against the edges of their row of cells. */
import type { Outline } from "../core/clouds";
import { HIDDEN } from "./colours";
import type { Plane } from "./project";

const CELLS = 256;
const [OUTSIDE, INSIDE, NEAR_AN_EDGE] = [0, 1, 2];

interface Box {
  left: number;
  right: number;
  low: number;
  high: number;
  wide: number;
  tall: number;
}

/** Corners, their box, and the edges that reach each row of cells (an edge goes to its corner from the one before). */
interface Shape {
  u: Float64Array;
  v: Float64Array;
  box: Box;
  first: Int32Array;
  edges: Int32Array;
}

const held = (cell: number): number => Math.min(Math.max(cell, 0), CELLS - 1);
const before = (corner: number, corners: number): number => (corner === 0 ? corners - 1 : corner - 1);

function shapeOf(outline: Outline): Shape {
  const [u, v] = [Float64Array.from(outline, (corner) => corner[0]), Float64Array.from(outline, (corner) => corner[1])];
  const [left, right, low, high] = [Math.min(...u), Math.max(...u), Math.min(...v), Math.max(...v)];
  const box = { left, right, low, high, wide: (right - left) / CELLS || 1, tall: (high - low) / CELLS || 1 };
  const rows: number[][] = Array.from({ length: CELLS }, () => []);
  for (let a = 0; a < u.length; a++) {
    const b = before(a, u.length);
    // a row more on either side: rounding may put a point on its border into either of the two
    const [from, to] = [Math.min(v[a]!, v[b]!), Math.max(v[a]!, v[b]!)].map((at) => Math.floor((at - low) / box.tall)) as [number, number];
    for (let row = held(from - 1); row <= held(to + 1); row++) rows[row]!.push(a);
  }
  const first = new Int32Array(CELLS + 1);
  rows.forEach((row, i) => (first[i + 1] = first[i]! + row.length));
  return { u, v, box, first, edges: Int32Array.from(rows.flat()) };
}

/** 1 inside, 0 outside: how many edges of a row of cells lie to the right of a point. */
function oddAt(shape: Shape, row: number, u: number, v: number): number {
  const { u: cu, v: cv, first, edges } = shape;
  let inside = 0;
  for (let e = first[row]!; e < first[row + 1]!; e++) {
    const a = edges[e]!;
    const b = before(a, cu.length);
    if (cv[a]! > v !== cv[b]! > v && u < ((cu[b]! - cu[a]!) * (v - cv[a]!)) / (cv[b]! - cv[a]!) + cu[a]!) inside ^= 1;
  }
  return inside;
}

/** What is known of each cell. */
function cellsOf(shape: Shape): Uint8Array {
  const cells = new Uint8Array(CELLS * CELLS);
  const { box } = shape;
  for (let row = 0; row < CELLS; row++) {
    const [low, high] = [box.low + (row - 1) * box.tall, box.low + (row + 2) * box.tall];
    for (let e = shape.first[row]!; e < shape.first[row + 1]!; e++) {
      const [from, to] = reach(shape, shape.edges[e]!, low, high);
      const [first, last] = [held(Math.floor((from - box.left) / box.wide) - 1), held(Math.floor((to - box.left) / box.wide) + 1)];
      cells.fill(NEAR_AN_EDGE, row * CELLS + first, row * CELLS + last + 1);
    }
    settle(shape, cells, row);
  }
  return cells;
}

/** Between which u an edge runs while its v is within low..high. */
function reach({ u, v }: Shape, a: number, low: number, high: number): [number, number] {
  const b = before(a, u.length);
  const rise = v[b]! - v[a]!;
  const at = (level: number) => u[a]! + (u[b]! - u[a]!) * (rise === 0 ? 0 : Math.min(Math.max((level - v[a]!) / rise, 0), 1));
  const ends = rise === 0 ? [u[a]!, u[b]!] : [at(low), at(high)];
  return [Math.min(...ends), Math.max(...ends)];
}

/** Neighbouring cells without an edge between them are alike: one test a run. */
function settle(shape: Shape, cells: Uint8Array, row: number): void {
  const { box } = shape;
  const v = box.low + (row + 0.5) * box.tall;
  let known = -1;
  for (let i = 0; i < CELLS; i++) {
    const at = row * CELLS + i;
    if (cells[at] === NEAR_AN_EDGE) known = -1;
    else {
      if (known < 0) known = oddAt(shape, row, box.left + (i + 0.5) * box.wide, v) ? INSIDE : OUTSIDE;
      cells[at] = known;
    }
  }
}

/** Uint8 `[m]` in drawing order: 1 where a point that is shown lies within the outline (corners in the plane's own units). */
export function within(outline: Outline, data: Uint16Array, plane: Plane, shade: Uint8Array): Uint8Array {
  const mask = new Uint8Array(shade.length);
  const shape = shapeOf(outline);
  const cells = cellsOf(shape);
  const { left, right, low, high, wide, tall } = shape.box;
  const [across, up] = [1 / wide, 1 / tall];
  const { dims } = plane;
  const [ua, ub, uc, ud] = plane.u;
  const [va, vb, vc, vd] = plane.v;
  for (let i = 0; i < mask.length; i++) {
    if (shade[i] === HIDDEN) continue;
    const p = data[dims * i]!;
    const q = data[dims * i + 1]!;
    const r = dims === 3 ? data[3 * i + 2]! : 0;
    const u = ua * p + ub * q + uc * r + ud;
    const v = va * p + vb * q + vc * r + vd;
    if (u < left || u > right || v < low || v > high) continue;
    const row = Math.min(((v - low) * up) | 0, CELLS - 1);
    const cell = cells[row * CELLS + Math.min(((u - left) * across) | 0, CELLS - 1)]!;
    mask[i] = cell === NEAR_AN_EDGE ? oddAt(shape, row, u, v) : cell;
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
