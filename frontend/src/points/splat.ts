/* Points painted on the processor, straight into a picture's pixels: a million take some tens of milliseconds, and no GPU is needed. */
import { FADED, FOGS, NOT_DRAWN } from "./colours";
import { DEEP, type View } from "./project";

/** A disc on the pixel grid: which of its d × d pixels it covers, and how much of each (0..255). */
export interface Stamp {
  size: number;
  cover: Uint8Array;
}

const FINE = 8;
const stamps = new Map<number, Stamp>();

/** The disc of a diameter in whole pixels; one and two pixels are squares. */
export function stampOf(size: number): Stamp {
  const known = stamps.get(size);
  if (known) return known;
  const cover = new Uint8Array(size * size).fill(255);
  const middle = (size * FINE - 1) / 2;
  if (size > 2)
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        let inside = 0;
        for (let fy = 0; fy < FINE; fy++)
          for (let fx = 0; fx < FINE; fx++) if ((x * FINE + fx - middle) ** 2 + (y * FINE + fy - middle) ** 2 <= (size * FINE) ** 2 / 4) inside++;
        cover[y * size + x] = Math.round((255 * inside) / FINE ** 2);
      }
  const made = { size, cover };
  stamps.set(size, made);
  return made;
}

/** Where a disc's first pixel lies, for its middle at `x`. */
export const corner = (x: number, size: number): number => Math.floor(x - (size - 1) / 2);

/** `a` parts in 255 of one pixel over another. */
export function over(top: number, below: number, a: number): number {
  const rest = 255 - a;
  const part = (shift: number) => ((((top >>> shift) & 255) * a + ((below >>> shift) & 255) * rest + 127) / 255) | 0;
  return (part(0) | (part(8) << 8) | (part(16) << 16) | 0xff000000) >>> 0;
}

export interface Target {
  width: number;
  height: number;
  pixels: Uint32Array;
  /** Depth of what was painted, used in 3-D. */
  depth: Float32Array;
}

export const target = (width: number, height: number): Target => ({ width, height, pixels: new Uint32Array(width * height), depth: new Float32Array(width * height) });

export interface Points {
  /** `[m, dims]` in drawing order. */
  data: Uint16Array;
  ink: Uint16Array;
}

/** Which points of a picture are painted: all that are drawn, only those faded, only those that are not. */
export type Layer = "all" | "faded" | "clear";

/** Paints the first `count` points over a picture; later ones lie on top, in 3-D nearer ones do. */
export function splat(into: Target, points: Points, view: View, stamp: Stamp, palette: Uint32Array, layer: Layer, count: number): void {
  const [least, most] = layer === "faded" ? [FADED, NOT_DRAWN] : layer === "clear" ? [0, FADED] : [0, NOT_DRAWN];
  if (view.plane.dims === 2) flat(into, points, view, stamp, palette, least, most, count);
  else deep(into, points, view, stamp, palette, least, most, count);
}

/** Offsets of the pixels that a stamp covers wholly, and of its edge with their cover. */
function laid(stamp: Stamp, width: number): { full: Int32Array; edge: Int32Array; cover: Uint8Array } {
  const full: number[] = [];
  const edge: number[] = [];
  const cover: number[] = [];
  stamp.cover.forEach((a, i) => {
    const offset = Math.floor(i / stamp.size) * width + (i % stamp.size);
    if (a === 255) full.push(offset);
    else if (a > 0) {
      edge.push(offset);
      cover.push(a);
    }
  });
  return { full: Int32Array.from(full), edge: Int32Array.from(edge), cover: Uint8Array.from(cover) };
}

function flat(into: Target, points: Points, view: View, stamp: Stamp, palette: Uint32Array, least: number, most: number, count: number): void {
  const { data, ink } = points;
  const { width, height, pixels } = into;
  const { size } = stamp;
  const { full, edge, cover } = laid(stamp, width);
  const [kx, x0, ky, y0] = [view.x[0], view.x[3] - (size - 1) / 2, view.y[1], view.y[3] - (size - 1) / 2];
  const [lastX, lastY] = [width - size, height - size];
  for (let i = 0; i < count; i++) {
    const shade = ink[i]!;
    if (shade < least || shade >= most) continue;
    const x = Math.floor(kx * data[2 * i]! + x0);
    const y = Math.floor(ky * data[2 * i + 1]! + y0);
    if (x < 0 || y < 0 || x > lastX || y > lastY) {
      if (x > -size && y > -size && x < width && y < height) cut(into, stamp, x, y, palette[shade]!, null);
      continue;
    }
    const at = y * width + x;
    const colour = palette[shade]!;
    if (size === 2) {
      // by far the commonest where there are very many points
      pixels[at] = colour;
      pixels[at + 1] = colour;
      pixels[at + width] = colour;
      pixels[at + width + 1] = colour;
      continue;
    }
    for (let k = 0; k < full.length; k++) pixels[at + full[k]!] = colour;
    for (let k = 0; k < edge.length; k++) pixels[at + edge[k]!] = over(colour, pixels[at + edge[k]!]!, cover[k]!);
  }
}

function deep(into: Target, points: Points, view: View, stamp: Stamp, palette: Uint32Array, least: number, most: number, count: number): void {
  const { data, ink } = points;
  const { width, height, pixels, depth } = into;
  const { size } = stamp;
  const { full, edge, cover } = laid(stamp, width);
  const [xa, xb, xc, xd] = view.x;
  const [ya, yb, yc, yd] = view.y;
  const [za, zb, zc, zd] = view.plane.depth;
  const [lastX, lastY, half] = [width - size, height - size, (size - 1) / 2];
  for (let i = 0; i < count; i++) {
    const shade = ink[i]!;
    if (shade < least || shade >= most) continue;
    const p = data[3 * i]!;
    const q = data[3 * i + 1]!;
    const r = data[3 * i + 2]!;
    const x = Math.floor(xa * p + xb * q + xc * r + xd - half);
    const y = Math.floor(ya * p + yb * q + yc * r + yd - half);
    if (x <= -size || y <= -size || x >= width || y >= height) continue;
    const z = za * p + zb * q + zc * r + zd;
    const fog = ((DEEP - z) * STEPS) | 0; // fogOf, without its calls
    const colour = palette[(fog < 0 ? 0 : fog >= FOGS ? FOGS - 1 : fog) * 512 + shade]!;
    if (x < 0 || y < 0 || x > lastX || y > lastY) {
      cut(into, stamp, x, y, colour, z);
      continue;
    }
    const at = y * width + x;
    if (size === 2) {
      square(pixels, depth, at, width, z, colour);
      continue;
    }
    for (let k = 0; k < full.length; k++) {
      const to = at + full[k]!;
      if (z >= depth[to]!) {
        depth[to] = z;
        pixels[to] = colour;
      }
    }
    for (let k = 0; k < edge.length; k++) {
      const to = at + edge[k]!;
      if (z >= depth[to]!) pixels[to] = over(colour, pixels[to]!, cover[k]!);
    }
  }
}

/** Two by two pixels, each where it is nearest. */
function square(pixels: Uint32Array, depth: Float32Array, at: number, width: number, z: number, colour: number): void {
  if (z >= depth[at]!) {
    depth[at] = z;
    pixels[at] = colour;
  }
  if (z >= depth[at + 1]!) {
    depth[at + 1] = z;
    pixels[at + 1] = colour;
  }
  if (z >= depth[at + width]!) {
    depth[at + width] = z;
    pixels[at + width] = colour;
  }
  if (z >= depth[at + width + 1]!) {
    depth[at + width + 1] = z;
    pixels[at + width + 1] = colour;
  }
}

const STEPS = FOGS / (2 * DEEP);
/** How far a depth has sunk into the ground, 0..FOGS−1. */
export const fogOf = (z: number): number => Math.min(Math.max(((DEEP - z) * STEPS) | 0, 0), FOGS - 1);

/** A disc that the border cuts. */
function cut(into: Target, stamp: Stamp, x: number, y: number, colour: number, z: number | null): void {
  const { size, cover } = stamp;
  for (let dy = Math.max(0, -y); dy < Math.min(size, into.height - y); dy++)
    for (let dx = Math.max(0, -x); dx < Math.min(size, into.width - x); dx++) {
      const a = cover[dy * size + dx]!;
      const to = (y + dy) * into.width + x + dx;
      if (a === 0 || (z !== null && z < into.depth[to]!)) continue;
      if (a < 255) into.pixels[to] = over(colour, into.pixels[to]!, a);
      else {
        into.pixels[to] = colour;
        if (z !== null) into.depth[to] = z;
      }
    }
}

/** A whole picture: the ground, then what is faded, then what is not (in 3-D in front of everything faded). */
export function paintPoints(into: Target, points: Points, view: View, stamp: Stamp, palette: Uint32Array, ground: number, selection: boolean, count: number): void {
  into.pixels.fill(ground);
  if (view.plane.dims === 3) into.depth.fill(-Infinity);
  if (!selection) return splat(into, points, view, stamp, palette, "all", count);
  splat(into, points, view, stamp, palette, "faded", count);
  if (view.plane.dims === 3) into.depth.fill(-Infinity);
  splat(into, points, view, stamp, palette, "clear", count);
}

/** Usual diameter of a point in CSS pixels: many points are small ones. */
export function usualSize(count: number): number {
  for (const [most, size] of [[300, 9], [3000, 7], [20_000, 5], [80_000, 4], [300_000, 3]] as const) if (count <= most) return size;
  return 2;
}
