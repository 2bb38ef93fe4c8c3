/* Small multiples: every head of every layer on the true grid, in one packed picture; a row for each layer, a column for each head. */
import type { Rows } from "../core/answers";
import { paddedOf, stackOf, type Cell, type Source, type Stack } from "../core/catalogue";
import { limitsOf, isSigned, SIGNED, type Limits } from "../core/colour";
import { normalised } from "../core/normalise";
import type { Norm, Palette, Range } from "../core/state";
import { paint, palette, picture, type Picture, type Tile } from "./paint";

export interface SmallLayout {
  columns: number;
  rows: number;
  gap: number;
  tileWidth: number;
  tileHeight: number;
  width: number;
  height: number;
}

/** Where the tiles lie, one pixel for each patch. */
export function smallLayout(source: Source, heads: boolean): SmallLayout {
  const [tileHeight, tileWidth] = source.frame.grid;
  const columns = heads ? stackOf(source).widest : 1;
  const rows = source.layers.length;
  const gap = Math.max(1, Math.round(Math.min(tileHeight, tileWidth) / 12));
  return { columns, rows, gap, tileWidth, tileHeight, width: columns * (tileWidth + gap) - gap, height: rows * (tileHeight + gap) - gap };
}

export const tileOf = (at: SmallLayout, layer: number, head: number): Tile => ({
  x: head * (at.tileWidth + at.gap),
  y: layer * (at.tileHeight + at.gap),
  width: at.tileWidth,
  height: at.tileHeight,
});

export interface Spot {
  layer: number;
  head: number;
  cell: Cell;
}

/** The map and the patch under a point of the packed picture; null in gaps. */
export function spotAt(at: SmallLayout, stack: Stack, y: number, x: number): Spot | null {
  const head = Math.floor(x / (at.tileWidth + at.gap));
  const layer = Math.floor(y / (at.tileHeight + at.gap));
  const column = Math.floor(x - head * (at.tileWidth + at.gap));
  const row = Math.floor(y - layer * (at.tileHeight + at.gap));
  if (layer < 0 || layer >= at.rows || head < 0 || head >= Math.min(at.columns, stack.heads[layer] ?? 0)) return null;
  return row >= at.tileHeight || column >= at.tileWidth ? null : { layer, head, cell: [row, column] };
}

/** Patch values of every map, normalised, and the limits each is drawn on. */
export interface SmallValues {
  grids: Float32Array[];
  limits: Limits[];
  layerOfMap: number[];
  headOfMap: number[];
}

/** Maps drawn beside the small ones on the same scale: the large map of a layer. */
export interface Beside {
  layer: number;
  grids: Float32Array[];
}

export function smallValues(source: Source, rows: Rows, norm: Norm, range: Range, beside: Beside = { layer: 0, grids: [] }): SmallValues {
  const stack = stackOf(source);
  const padded = source.padded.length ? paddedOf(source) : undefined;
  const layerOfMap: number[] = [];
  const headOfMap: number[] = [];
  for (let layer = 0; layer < source.layers.length; layer++)
    for (let head = 0; head < (rows.heads ? stack.heads[layer]! : 1); head++) {
      layerOfMap.push(layer);
      headOfMap.push(head);
    }
  const { patches } = source.tokens;
  const count = patches.length;
  const all = new Float32Array(rows.count * count);
  const where = Int32Array.from(patches);
  for (let m = 0; m < rows.count; m++) {
    const from = m * rows.n;
    const to = m * count;
    for (let i = 0; i < count; i++) all[to + i] = rows.values[from + where[i]!]!;
  }
  const grids = Array.from({ length: rows.count }, (_, m) => normalised(all.subarray(m * count, (m + 1) * count), norm));
  return { grids, limits: rangeLimits(grids, layerOfMap, range, beside, padded), layerOfMap, headOfMap };
}

function rangeLimits(grids: Float32Array[], layers: number[], range: Range, beside: Beside, padded?: Uint8Array): Limits[] {
  if (range === "map") return grids.map((grid) => limitsOf([grid], false, padded));
  if (range === "shared") {
    const shared = limitsOf([...grids, ...beside.grids], false, padded);
    return grids.map(() => shared);
  }
  const byLayer = new Map<number, Limits>();
  return grids.map((_, m) => {
    const layer = layers[m]!;
    let limits = byLayer.get(layer);
    if (!limits) {
      limits = limitsOf([...grids.filter((_, other) => layers[other] === layer), ...(layer === beside.layer ? beside.grids : [])], false, padded);
      byLayer.set(layer, limits);
    }
    return limits;
  });
}

/** Paints all maps into one picture; `into` is used again where it fits. */
export function paintSmall(source: Source, values: SmallValues, at: SmallLayout, colours: Palette, into?: Picture | null): Picture {
  const fits = into && into.width === at.width && into.height === at.height;
  const out = fits ? into : picture(at.width, at.height);
  const padded = source.padded.length ? paddedOf(source) : null;
  values.grids.forEach((grid, m) => {
    const limits = values.limits[m]!;
    const lut = palette(isSigned(limits) ? SIGNED : colours);
    paint(grid, limits, lut, out, tileOf(at, values.layerOfMap[m]!, values.headOfMap[m]!), undefinedIn(grid, padded));
  });
  return out;
}

/** Cells that show nothing: all padding, or without a value; null where there are none. */
function undefinedIn(grid: Float32Array, padded: Uint8Array | null): Uint8Array | null {
  let hole = false;
  for (let i = 0; i < grid.length && !hole; i++) hole = grid[i] !== grid[i];
  return hole ? Uint8Array.from(grid, (v, i) => (v !== v || padded?.[i] === 1 ? 1 : 0)) : padded;
}
