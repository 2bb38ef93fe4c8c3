/* What frames a map: ticks in its own units in 2-D, the edges of its cube in 3-D. */
import type { Camera, Positions } from "../core/clouds";
import { pixelOf, type Plane, type View } from "./project";

export interface Tick {
  /** Pixels from the left, or from the top. */
  at: number;
  words: string;
}

/** Round numbers between two others, about as many as asked. */
export function roundSteps(low: number, high: number, about: number): number[] {
  const raw = (high - low) / about;
  if (!(raw > 0) || !Number.isFinite(raw)) return [];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw)!;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const out: number[] = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toFixed(Math.min(digits, 20))));
  return out;
}

/** Ticks of a 2-D map along both sides of what is seen. */
export function ticksOf(positions: Positions, camera: Camera, view: View): { x: Tick[]; y: Tick[] } {
  const along = (axis: 0 | 1): Tick[] => {
    const [low, high] = [positions.low[axis]!, positions.high[axis]!];
    const pixels = axis === 0 ? view.width : view.height;
    const middle = axis === 0 ? camera.x : camera.y;
    const half = pixels / 2 / view.scale;
    const unit = (share: number) => low + share * (high - low);
    return roundSteps(unit(middle - half), unit(middle + half), Math.max(pixels / 90, 2)).map((value) => {
      const share = (value - low) / (high - low || 1);
      const [x, y] = pixelOf(camera, view, share, share);
      return { at: axis === 0 ? x : y, words: String(value).replace("-", "−") };
    });
  };
  return { x: along(0), y: along(1) };
}

/** The twelve edges of the cube as pixels, far ones first, with how near their middle is. */
export function cubeOf(plane: Plane, camera: Camera, view: View): { x0: number; y0: number; x1: number; y1: number; near: number }[] {
  const corners = Array.from({ length: 8 }, (_, i) => {
    const at = [i & 1, (i >> 1) & 1, i >> 2].map((side) => side * 65535);
    const value = (form: Plane["u"]) => form[0] * at[0]! + form[1] * at[1]! + form[2] * at[2]! + form[3];
    return { pixel: pixelOf(camera, view, value(plane.u), value(plane.v)), depth: value(plane.depth) };
  });
  const edges = [];
  for (let i = 0; i < 8; i++)
    for (const side of [1, 2, 4]) {
      const j = i | side;
      if (j === i) continue;
      const [a, b] = [corners[i]!, corners[j]!];
      edges.push({ x0: a.pixel[0], y0: a.pixel[1], x1: b.pixel[0], y1: b.pixel[1], near: (a.depth + b.depth) / 2 });
    }
  return edges.sort((a, b) => a.near - b.near);
}
