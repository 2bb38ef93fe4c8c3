/* From patch values to every pixel of the photo: half-pixel centres, smooth or true patches, NaN where nothing was seen.
   The same numbers as `core/drawing.py`; both axes are independent, so weights are found once per row and once per column. */
import type { Frame } from "./catalogue";

export interface Axis {
  low: Int32Array;
  high: Int32Array;
  share: Float64Array;
  /** The two weights of each pixel in float32, as numpy mixes columns. */
  rest32: Float32Array;
  share32: Float32Array;
  near: Int32Array;
  covered: Uint8Array;
}

const clamp = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);

/** Where the pixels of one axis fall among the patch centres. */
export function axisOf(frame: Frame, axis: 0 | 1): Axis {
  const pixels = frame.photo_size[axis];
  const cells = frame.grid[axis];
  const out: Axis = {
    low: new Int32Array(pixels),
    high: new Int32Array(pixels),
    share: new Float64Array(pixels),
    rest32: new Float32Array(pixels),
    share32: new Float32Array(pixels),
    near: new Int32Array(pixels),
    covered: new Uint8Array(pixels),
  };
  for (let i = 0; i < pixels; i++) {
    const photo = i + 0.5;
    const u = photo * frame.scale[axis] + frame.offset[axis];
    const g = (u - frame.origin[axis] - frame.patch[axis] / 2) / frame.stride[axis];
    const held = clamp(g, 0, cells - 1);
    const low = Math.min(Math.floor(held), Math.max(cells - 2, 0));
    const near = clamp(Math.floor(g + 0.5), 0, cells - 1);
    out.low[i] = low;
    out.high[i] = Math.min(low + 1, cells - 1);
    out.share[i] = held - low;
    out.share32[i] = held - low;
    out.rest32[i] = 1 - (held - low);
    out.near[i] = near;
    const seen = photo > frame.seen[axis] && photo < frame.seen[axis + 2]!;
    const inside = u >= 0 && u <= frame.input_size[axis];
    const under = Math.abs(g - near) * frame.stride[axis] <= frame.patch[axis] / 2 + 1e-9;
    out.covered[i] = seen && inside && under ? 1 : 0;
  }
  return out;
}

export interface Plan {
  rows: Axis;
  columns: Axis;
  height: number;
  width: number;
  gridWidth: number;
}

const plans = new WeakMap<Frame, Plan>();

/** Both axes of a frame, found once. */
export function planOf(frame: Frame): Plan {
  let plan = plans.get(frame);
  if (!plan) {
    plan = { rows: axisOf(frame, 0), columns: axisOf(frame, 1), height: frame.photo_size[0], width: frame.photo_size[1], gridWidth: frame.grid[1] };
    plans.set(frame, plan);
  }
  return plan;
}

/** Patch values `[gh·gw]` at every pixel `[H·W]`; a patch without a finite value keeps its own area, its neighbours do without it. */
export function drawOnPhoto(grid: Float32Array, frame: Frame, smooth: boolean, out?: Float32Array): Float32Array {
  const plan = planOf(frame);
  const pixels = out ?? new Float32Array(plan.height * plan.width);
  const finite = grid.every(Number.isFinite);
  if (!smooth) nearest(grid, plan, pixels);
  else if (finite) bilinear(grid, plan, pixels);
  else bilinearAround(grid, plan, pixels);
  cover(plan, pixels);
  return pixels;
}

function nearest(grid: Float32Array, plan: Plan, out: Float32Array): void {
  const { rows, columns, height, width, gridWidth } = plan;
  for (let y = 0; y < height; y++) {
    const row = rows.near[y]! * gridWidth;
    for (let x = 0; x < width; x++) out[y * width + x] = grid[row + columns.near[x]!]!;
  }
}

function bilinear(grid: Float32Array, plan: Plan, out: Float32Array): void {
  const { rows, columns, height, width, gridWidth } = plan;
  const mixed = new Float32Array(gridWidth);
  const { low, high, rest32, share32 } = columns;
  let least = Infinity;
  let most = -Infinity;
  for (const v of grid) {
    if (v < least) least = v;
    if (v > most) most = v;
  }
  for (let y = 0; y < height; y++) {
    const part = rows.share[y]!;
    const from = rows.low[y]! * gridWidth;
    const to = rows.high[y]! * gridWidth;
    for (let c = 0; c < gridWidth; c++) mixed[c] = (1 - part) * grid[from + c]! + part * grid[to + c]!;
    const at = y * width;
    for (let x = 0; x < width; x++) {
      const v = rest32[x]! * mixed[low[x]!]! + share32[x]! * mixed[high[x]!]!;
      out[at + x] = v < least ? least : v > most ? most : v;
    }
  }
}

/** The same over the patches that have a finite value. */
function bilinearAround(grid: Float32Array, plan: Plan, out: Float32Array): void {
  const { rows, columns, height, width, gridWidth } = plan;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const near = grid[rows.near[y]! * gridWidth + columns.near[x]!]!;
      out[y * width + x] = Number.isFinite(near) ? mixture(grid, plan, y, x) : near;
    }
}

function mixture(grid: Float32Array, plan: Plan, y: number, x: number): number {
  const { rows, columns, gridWidth } = plan;
  let sum = 0;
  let weight = 0;
  for (const [row, wy] of [[rows.low[y]!, 1 - rows.share[y]!], [rows.high[y]!, rows.share[y]!]] as const)
    for (const [column, wx] of [[columns.low[x]!, 1 - columns.share[x]!], [columns.high[x]!, columns.share[x]!]] as const) {
      const v = grid[row * gridWidth + column]!;
      if (!Number.isFinite(v)) continue;
      sum += wy * wx * v;
      weight += wy * wx;
    }
  return sum / weight;
}

function cover(plan: Plan, out: Float32Array): void {
  const { rows, columns, height, width } = plan;
  const gaps: number[] = [];
  columns.covered.forEach((covered, x) => covered || gaps.push(x));
  for (let y = 0; y < height; y++) {
    if (!rows.covered[y]) out.fill(NaN, y * width, (y + 1) * width);
    else for (const x of gaps) out[y * width + x] = NaN;
  }
}
