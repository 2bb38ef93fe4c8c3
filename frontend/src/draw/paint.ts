/* From raw values to pixels, by the rules of `views/paint.py`: undefined is hatched grey, values beyond the colour bar are hatched over
   its end colour, what the model never saw stays transparent. */
import { LEVELS, table, type Limits } from "../core/colour";

export const UNSEEN = LEVELS;
export const GREY = LEVELS + 1;
export const GREY_STRIPE = LEVELS + 2;
export const CLIPPED_STRIPE = LEVELS + 3;
const SPECIAL = [[0, 0, 0, 0], [150, 150, 150, 255], [105, 105, 105, 255], [46, 160, 67, 255]];
export const STRIPE = 6;

const palettes = new Map<string, Uint32Array>();

/** Pixels (bytes R, G, B, A) of every palette index. */
export function palette(name: string): Uint32Array {
  const known = palettes.get(name);
  if (known) return known;
  const bytes = new Uint8Array((LEVELS + SPECIAL.length) * 4);
  const colours = table(name);
  for (let i = 0; i < LEVELS; i++) bytes.set([colours[3 * i]!, colours[3 * i + 1]!, colours[3 * i + 2]!, 255], 4 * i);
  SPECIAL.forEach((pixel, i) => bytes.set(pixel, 4 * (LEVELS + i)));
  const made = new Uint32Array(bytes.buffer);
  palettes.set(name, made);
  return made;
}

export interface Picture {
  width: number;
  height: number;
  pixels: Uint32Array;
}

export const picture = (width: number, height: number): Picture => ({ width, height, pixels: new Uint32Array(width * height) });

export interface Tile {
  /** Where the tile's first pixel lies in the picture. */
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Adding and taking away this number rounds a small double half to even, as numpy does. */
const ROUND = 1.5 * 2 ** 52;

/** Paints `[h·w]` values as one tile of a picture. `undefined_` marks cells where a value should be and is not; NaN elsewhere is transparent. */
export function paint(values: Float32Array, limits: Limits, colours: Uint32Array, into: Picture, tile: Tile, undefined_: Uint8Array | null = null): void {
  const { low, high } = limits;
  const range = high - low;
  const last = LEVELS - 1;
  const slack = 1e-6 * range;
  const [above, below] = [high + slack, low - slack];
  const { pixels, width } = into;
  for (let y = 0, i = 0; y < tile.height; y++) {
    let at = (tile.y + y) * width + tile.x;
    for (let x = 0; x < tile.width; x++, i++, at++) {
      const v = values[i]!;
      if (v <= above && v >= below && (undefined_ === null || undefined_[i] === 0)) {
        const step = ((v - low) / range) * last + ROUND - ROUND;
        pixels[at] = colours[step < 0 ? 0 : step > last ? last : step]!;
      } else {
        const striped = (x + y) % STRIPE < STRIPE / 2;
        if (undefined_ !== null && undefined_[i] === 1) pixels[at] = colours[striped ? GREY_STRIPE : GREY]!;
        else if (v !== v) pixels[at] = colours[UNSEEN]!;
        else pixels[at] = colours[striped ? CLIPPED_STRIPE : v > high ? last : 0]!;
      }
    }
  }
}

/** The picture as the browser's own pixels, without copying. */
export const imageData = (from: Picture): ImageData =>
  new ImageData(new Uint8ClampedArray(from.pixels.buffer as ArrayBuffer, from.pixels.byteOffset, from.pixels.byteLength), from.width, from.height);

/** Draws a picture on a canvas of its own size. */
export function put(canvas: HTMLCanvasElement, from: Picture): void {
  if (canvas.width !== from.width) canvas.width = from.width;
  if (canvas.height !== from.height) canvas.height = from.height;
  canvas.getContext("2d")!.putImageData(imageData(from), 0, 0);
}
