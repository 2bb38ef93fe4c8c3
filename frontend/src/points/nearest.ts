/* The point under the pointer: every one is looked at, which takes a few milliseconds for a million. */
import { HIDDEN } from "./colours";
import type { View } from "./project";

/** Index (in drawing order) of the shown point nearest to a pixel, at most `reach` pixels away; the one on top where several are as near. −1: none. */
export function nearest(data: Uint16Array, shade: Uint8Array, view: View, x: number, y: number, reach: number): number {
  return view.plane.dims === 2 ? nearestFlat(data, shade, view, x, y, reach) : nearestDeep(data, shade, view, x, y, reach);
}

function nearestFlat(data: Uint16Array, shade: Uint8Array, view: View, x: number, y: number, reach: number): number {
  // one scale on both axes: the nearest in stored units is the nearest in pixels
  const scale = view.x[0];
  const [p, q] = [(x - view.x[3]) / scale, (y - view.y[3]) / view.y[1]];
  let best = (reach / scale) ** 2;
  let found = -1;
  for (let i = 0; i < shade.length; i++) {
    const dx = data[2 * i]! - p;
    const dy = data[2 * i + 1]! - q;
    const far = dx * dx + dy * dy;
    if (far <= best && shade[i] !== HIDDEN) {
      best = far;
      found = i;
    }
  }
  return found;
}

function nearestDeep(data: Uint16Array, shade: Uint8Array, view: View, x: number, y: number, reach: number): number {
  const [xa, xb, xc, xd] = view.x;
  const [ya, yb, yc, yd] = view.y;
  const [za, zb, zc] = view.plane.depth;
  let best = reach * reach;
  let front = -Infinity;
  let found = -1;
  for (let i = 0; i < shade.length; i++) {
    const p = data[3 * i]!;
    const q = data[3 * i + 1]!;
    const r = data[3 * i + 2]!;
    const dx = xa * p + xb * q + xc * r + xd - x;
    const dy = ya * p + yb * q + yc * r + yd - y;
    const far = dx * dx + dy * dy;
    if (far > best || shade[i] === HIDDEN) continue;
    const z = za * p + zb * q + zc * r;
    if (far === best && z < front) continue;
    best = far;
    front = z;
    found = i;
  }
  return found;
}
