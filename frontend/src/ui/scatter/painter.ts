/* Paints the points of a scatter on a canvas: by the graphics card where there is one, else by the processor, while something moves as many as a frame has time for. */
import { oneLine } from "../../core/errors";
import { coloursOf, onGround, pixelsOf, rgb, rgbOf, NONE, type Colour } from "../../points/colours";
import { cardOf, type Card, type Picture } from "../../points/gl";
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
/** Set to "gl" before the page loads, the card is taken even where software plays it: for tests. */
const FORCE = "vitscope-painter";

export class Painter {
  private into: Target | null = null;
  private card: Card | null = null;
  private failed: (error: unknown) => void = () => {};
  private cost = 0;
  private palette: { key: string; pixels: Uint32Array } | null = null;

  /** Takes the graphics card where there is one; `told` hears which painter there is, in words, and again once the card fails. */
  take(told: (by: "gl" | "cpu", words: string) => void): void {
    this.failed = (error) => {
      this.end();
      told("cpu", `Drawn by the processor, since the graphics card failed: ${oneLine(error)}.`);
    };
    try {
      this.card = cardOf((globalThis as Record<string, unknown>)[FORCE] === "gl", () => this.card && this.failed("its context was lost"));
      if (this.card) told("gl", "Drawn by the graphics card.");
    } catch (error) {
      this.failed(error);
    }
  }

  end(): void {
    this.card?.end();
    this.card = null;
  }

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
    if (this.card && this.byCard(this.card, canvas, job)) return job.scatter.ink.length;
    const { width, height } = canvas;
    if (this.into?.width !== width || this.into.height !== height) this.into = target(width, height);
    const began = performance.now();
    const { ink } = job.scatter;
    const count = job.moving && this.cost * ink.length > IN_A_FRAME ? Math.floor(IN_A_FRAME / this.cost) : ink.length;
    this.onto(this.into, this.picture(job, width, height, job.size.density), count);
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
    this.onto(into, this.picture({ ...job, ground: "rgb(255 255 255)" }, into.width, into.height, density), job.scatter.ink.length);
    canvas.getContext("2d")!.putImageData(imageOf(into), 0, 0);
    return canvas;
  }

  /** Whether the card painted it. */
  private byCard(card: Card, canvas: HTMLCanvasElement, job: Job): boolean {
    try {
      card.paint(this.picture(job, canvas.width, canvas.height, job.size.density));
    } catch (error) {
      this.failed(error);
      return false;
    }
    canvas.getContext("2d")!.drawImage(card.canvas, 0, 0);
    return true;
  }

  private picture({ scatter, shown, view, kind, ground }: Job, width: number, height: number, density: number): Picture {
    const colour = rgbOf(ground);
    return {
      points: { data: shown.data, ink: scatter.ink },
      view: { ...view, x: scaled(view.x, density), y: scaled(view.y, density), width, height },
      stamp: stampOf(this.diameter(scatter.cloud.count, scatter.points.size, density)),
      palette: this.pixels(kind, colour),
      ground: pixelOf(colour),
      selection: scatter.selected !== null,
    };
  }

  private onto(into: Target, { points, view, stamp, palette, ground, selection }: Picture, count: number): void {
    paintPoints(into, points, view, stamp, palette, ground, selection, count);
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
