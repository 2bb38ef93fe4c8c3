/* Paints the points of a scatter on a canvas; while something moves, as many as a frame has time for. */
import { coloursOf, onGround, pixelsOf, rgb, rgbOf, NONE, type Colour } from "../../points/colours";
import type { View } from "../../points/project";
import { paintPoints, stampOf, target, usualSize, type Target } from "../../points/splat";
import type { Scatter, Shown } from "./scatter.svelte";

export interface Size {
  width: number;
  height: number;
  density: number;
}

export interface Job {
  scatter: Scatter;
  shown: Shown;
  view: View;
  size: Size;
  kind: "category" | "number" | "none";
  ground: string;
  moving: boolean;
}

/** Milliseconds of a frame that painting may take while something moves. */
const IN_A_FRAME = 14;
const MOST_PIXELS = 24;

export class Painter {
  private into: Target | null = null;
  private cost = 0;
  private palette: { key: string; pixels: Uint32Array } | null = null;

  /** Diameter of a point in device pixels. */
  diameter(count: number, times: number, density: number): number {
    return Math.min(Math.max(Math.round(usualSize(count) * times * density), 1), MOST_PIXELS);
  }

  pixels(kind: Job["kind"], ground: Colour): Uint32Array {
    const key = `${kind} ${ground.join()}`;
    if (this.palette?.key !== key) this.palette = { key, pixels: pixelsOf(coloursOf(kind, ground), ground, onGround(rgb(NONE), ground)) };
    return this.palette.pixels;
  }

  blank(canvas: HTMLCanvasElement, size: Size, colour: string): void {
    fit(canvas, size);
    const context = canvas.getContext("2d")!;
    context.fillStyle = colour;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  /** Paints, and says how many of the points were painted. */
  paint(canvas: HTMLCanvasElement, job: Job): number {
    fit(canvas, job.size);
    const { width, height } = canvas;
    if (this.into?.width !== width || this.into.height !== height) this.into = target(width, height);
    const began = performance.now();
    const { ink } = job.scatter;
    const count = job.moving && this.cost * ink.length > IN_A_FRAME ? Math.floor(IN_A_FRAME / this.cost) : ink.length;
    this.onto(this.into, job, job.size.density, count);
    const spent = (performance.now() - began) / count;
    this.cost = this.cost ? 0.7 * this.cost + 0.3 * spent : spent;
    canvas.getContext("2d")!.putImageData(imageOf(this.into), 0, 0);
    return count;
  }

  /** All points on a white page at a density of its own. */
  onWhite(job: Job, density: number): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    fit(canvas, { ...job.size, density });
    const into = target(canvas.width, canvas.height);
    this.onto(into, { ...job, ground: "rgb(255 255 255)" }, density, job.scatter.ink.length);
    canvas.getContext("2d")!.putImageData(imageOf(into), 0, 0);
    return canvas;
  }

  private onto(into: Target, job: Job, density: number, count: number): void {
    const { scatter, shown, view, kind } = job;
    const ground = rgbOf(job.ground);
    const size = this.diameter(scatter.cloud.count, scatter.points.size, density);
    const dense = { ...view, x: scaled(view.x, density), y: scaled(view.y, density), width: into.width, height: into.height };
    paintPoints(into, { data: shown.data, ink: scatter.ink }, dense, stampOf(size), this.pixels(kind, ground), pixelOf(ground), scatter.selected !== null, count);
  }
}

const scaled = (form: View["x"], density: number): View["x"] => form.map((part) => part * density) as View["x"];
const pixelOf = ([r, g, b]: Colour): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
const imageOf = (from: Target): ImageData => new ImageData(new Uint8ClampedArray(from.pixels.buffer as ArrayBuffer), from.width, from.height);

function fit(canvas: HTMLCanvasElement, size: Size): void {
  const [width, height] = [Math.max(Math.round(size.width * size.density), 1), Math.max(Math.round(size.height * size.density), 1)];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}
