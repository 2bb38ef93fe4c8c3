/* The large map on the photo. */
import type { Frame } from "../core/catalogue";
import { isSigned, SIGNED, type Limits } from "../core/colour";
import { drawOnPhoto, planOf } from "../core/drawing";
import type { Palette } from "../core/state";
import { paint, palette, picture, type Picture } from "./paint";

/** Name of the table a map is drawn with: signed values always have the signed one. */
export const coloursOf = (limits: Limits, chosen: Palette): string => (isSigned(limits) ? SIGNED : chosen);

/** Paints patch values over every pixel of the photo at the frame's own size. */
export function paintLarge(grid: Float32Array, frame: Frame, limits: Limits, colours: Palette, smooth: boolean, scratch?: Float32Array, into?: Picture | null): Picture {
  const plan = planOf(frame);
  const fits = into && into.width === plan.width && into.height === plan.height;
  const out = fits ? into : picture(plan.width, plan.height);
  const values = drawOnPhoto(grid, frame, smooth, scratch?.length === out.pixels.length ? scratch : undefined);
  const whole = { x: 0, y: 0, width: plan.width, height: plan.height };
  const lut = palette(coloursOf(limits, colours));
  if (grid.every(Number.isFinite)) {
    paint(values, limits, lut, out, whole);
    return out;
  }
  const { rows, columns, width } = plan;
  const hole = (v: number, i: number) => v !== v && rows.covered[Math.floor(i / width)] === 1 && columns.covered[i % width] === 1;
  paint(values, limits, lut, out, whole, Uint8Array.from(values, (v, i) => (hole(v, i) ? 1 : 0)));
  return out;
}
