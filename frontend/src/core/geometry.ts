/* Photo ↔ model input ↔ patch. The photo is the one displayed (EXIF turn applied); (y, x) order; coordinates from the top-left corner. */
import type { Cell, Frame } from "./catalogue";

const clamp = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);

/** The patch under a point of the photo: the one whose centre is nearest; null outside what the model saw. */
export function cellAt(frame: Frame, y: number, x: number): Cell | null {
  const cell: Cell = [0, 0];
  for (const axis of [0, 1] as const) {
    const at = axis ? x : y;
    if (at < frame.covered[axis] || at > frame.covered[axis + 2]!) return null;
    const u = at * frame.scale[axis] + frame.offset[axis];
    const g = Math.floor((u - frame.origin[axis] - frame.patch[axis] / 2) / frame.stride[axis] + 0.5);
    cell[axis] = clamp(g, 0, frame.grid[axis] - 1);
  }
  return cell;
}

/** (y0, x0, y1, x1) of a patch on the photo, cut to the photo. */
export function boxOf(frame: Frame, cell: Cell): [number, number, number, number] {
  const box: [number, number, number, number] = [0, 0, 0, 0];
  for (const axis of [0, 1] as const) {
    const low = frame.origin[axis] + cell[axis] * frame.stride[axis];
    box[axis] = clamp((low - frame.offset[axis]) / frame.scale[axis], 0, frame.photo_size[axis]);
    box[axis + 2] = clamp((low + frame.patch[axis] - frame.offset[axis]) / frame.scale[axis], 0, frame.photo_size[axis]);
  }
  return box;
}

/** Centre (y, x) of a patch on the photo, not cut. */
export function centreOf(frame: Frame, cell: Cell): [number, number] {
  const at = (axis: 0 | 1) => (frame.origin[axis] + cell[axis] * frame.stride[axis] + frame.patch[axis] / 2 - frame.offset[axis]) / frame.scale[axis];
  return [at(0), at(1)];
}

/** The same frame on a photo shown at `height`×`width` pixels. */
export function resized(frame: Frame, height: number, width: number): Frame {
  const factor = [height / frame.photo_size[0], width / frame.photo_size[1]] as const;
  const box = (b: Frame["seen"]): Frame["seen"] => [b[0] * factor[0], b[1] * factor[1], b[2] * factor[0], b[3] * factor[1]];
  return {
    ...frame,
    photo_size: [height, width],
    scale: [frame.scale[0] / factor[0], frame.scale[1] / factor[1]],
    seen: box(frame.seen),
    covered: box(frame.covered),
  };
}

/** The size with its longer side at `longest`. */
export function sizeWithin(frame: Frame, longest: number): [number, number] {
  const factor = longest / Math.max(...frame.photo_size);
  return [Math.max(Math.round(frame.photo_size[0] * factor), 1), Math.max(Math.round(frame.photo_size[1] * factor), 1)];
}

/** Whether two frames cut their photos into the same grid, so that a difference patch by patch means something. */
export const sameGrid = (a: Frame, b: Frame): boolean => a.grid[0] === b.grid[0] && a.grid[1] === b.grid[1];

/** The patch of another source at the same relative place of its photo. */
export function cellAcross(from: Frame, cell: Cell, to: Frame): Cell {
  if (sameGrid(from, to)) return cell;
  const [y, x] = centreOf(from, cell);
  const there = [(y / from.photo_size[0]) * to.photo_size[0], (x / from.photo_size[1]) * to.photo_size[1]] as const;
  const held = (axis: 0 | 1) => clamp(there[axis], to.covered[axis], to.covered[axis + 2]!);
  return cellAt(to, held(0), held(1)) ?? [0, 0];
}

/** A cell moved by one step, held on the grid. */
export const moved = (frame: Frame, cell: Cell, step: Cell): Cell => [
  clamp(cell[0] + step[0], 0, frame.grid[0] - 1),
  clamp(cell[1] + step[1], 0, frame.grid[1] - 1),
];

/** The cells around one, itself left out. */
export function around(frame: Frame, cell: Cell): Cell[] {
  const out: Cell[] = [];
  for (let dy = -1; dy <= 1; dy++)
    for (let dx = -1; dx <= 1; dx++) {
      const [row, column] = [cell[0] + dy, cell[1] + dx];
      if ((dy || dx) && row >= 0 && column >= 0 && row < frame.grid[0] && column < frame.grid[1]) out.push([row, column]);
    }
  return out;
}
