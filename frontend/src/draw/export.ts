/* What is drawn, as one PNG or SVG: the photo with its map, the small maps, colour bars and captions. */
import { LEVELS, table, type Limits } from "../core/colour";
import type { Drawn } from "../core/marks";
import { short } from "../core/reading";
import type { Line } from "./lines";

export interface Sheet {
  title: string;
  lines: string[];
  panels: Panel[];
}

export interface Panel {
  caption: string;
  width: number;
  height: number;
  /** Pictures from the bottom to the top, each drawn over the whole panel. */
  layers: { source: CanvasImageSource; opacity: number; sharp: boolean }[];
  boxes: { y: number; x: number; height: number; width: number; dashed: boolean }[];
  links: Line[];
  /** Boxes and places of a target, in the panel's own units, cut to the panel. */
  marks: Drawn[];
  /** What the model saw; the rest is hatched. Null: all of it. */
  seen: { y: number; x: number; height: number; width: number } | null;
  bar: { limits: Limits; colours: string; unit: string } | null;
}

const SIDE = 24;
const STRIPES = 14;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";

interface Placed extends Panel {
  x: number;
  y: number;
}

interface Page {
  width: number;
  height: number;
  placed: Placed[];
}

function laidOut(sheet: Sheet): Page {
  const top = SIDE + 26 + 18 * sheet.lines.length + 14;
  let x = SIDE;
  const placed = sheet.panels.map((panel) => {
    const at = { ...panel, x, y: top + 20 };
    x += panel.width + SIDE;
    return at;
  });
  const tallest = Math.max(...sheet.panels.map((panel) => panel.height + 20 + (panel.bar ? 56 : 12)));
  return { width: Math.max(x, 420), height: top + tallest + SIDE, placed };
}

export const ticksOf = (limits: Limits): number[] => (limits.low < 0 ? [limits.low, 0, limits.high] : [0, limits.high / 2, limits.high]);

/** The sheet on a canvas of its own, on a white page. */
export function sheetCanvas(sheet: Sheet, density = 2): HTMLCanvasElement {
  const page = laidOut(sheet);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(page.width * density);
  canvas.height = Math.round(page.height * density);
  const context = canvas.getContext("2d")!;
  context.scale(density, density);
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, page.width, page.height);
  write(context, sheet.title, SIDE, SIDE + 16, 17, "#17181a", 650);
  sheet.lines.forEach((line, i) => write(context, line, SIDE, SIDE + 38 + 18 * i, 12.5, "#5b5f66"));
  for (const panel of page.placed) drawPanel(context, panel);
  return canvas;
}

function write(context: CanvasRenderingContext2D, text: string, x: number, y: number, size: number, colour: string, weight = 400, align: CanvasTextAlign = "left"): void {
  context.font = `${weight} ${size}px ${FONT}`;
  context.fillStyle = colour;
  context.textAlign = align;
  context.fillText(text, x, y);
}

function drawPanel(context: CanvasRenderingContext2D, panel: Placed): void {
  write(context, panel.caption, panel.x, panel.y - 8, 12.5, "#17181a", 600);
  for (const layer of panel.layers) {
    context.globalAlpha = layer.opacity;
    context.imageSmoothingEnabled = !layer.sharp;
    context.drawImage(layer.source, panel.x, panel.y, panel.width, panel.height);
  }
  context.globalAlpha = 1;
  if (panel.seen) hatch(context, panel, panel.seen);
  for (const line of panel.links) stroke(context, panel, line);
  for (const box of panel.boxes) {
    context.setLineDash(box.dashed ? [4, 3] : []);
    for (const [colour, width] of [["rgba(0,0,0,.7)", 3.5], ["#ffffff", 1.75]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(panel.x + box.x, panel.y + box.y, box.width, box.height);
    }
  }
  context.setLineDash([]);
  markOn(context, panel);
  if (panel.bar) drawBar(context, panel, panel.bar);
}

const MARKED = (one: Drawn): [string, number][] => [["#000000", one.chosen ? 5 : 2.6], ["#ffffff", one.chosen ? 2.6 : 1]];
const MARK_FONT = 11;

function markOn(context: CanvasRenderingContext2D, panel: Placed): void {
  context.save();
  context.beginPath();
  context.rect(panel.x, panel.y, panel.width, panel.height);
  context.clip();
  for (const one of panel.marks) {
    for (const [colour, width] of MARKED(one)) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.lineCap = "square";
      context.beginPath();
      for (const [x0, y0, x1, y1] of one.lines) {
        context.moveTo(panel.x + x0, panel.y + y0);
        context.lineTo(panel.x + x1, panel.y + y1);
      }
      context.stroke();
    }
    if (!one.words) continue;
    context.font = `600 ${MARK_FONT}px ${FONT}`;
    const at = markText(panel, one, context.measureText(one.words).width);
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0,0,0,.85)";
    context.textAlign = "left";
    context.strokeText(one.words, at.x, at.y);
    write(context, one.words, at.x, at.y, MARK_FONT, "#ffffff", 600);
  }
  context.restore();
}

/** Where the words of a mark begin: inside the panel. */
function markText(panel: Placed, one: Drawn, width: number): { x: number; y: number } {
  return { x: panel.x + Math.max(Math.min(one.x + 4, panel.width - width - 2), 0), y: panel.y + Math.min(one.y + MARK_FONT + 2, panel.height - 3) };
}

function hatch(context: CanvasRenderingContext2D, panel: Placed, seen: NonNullable<Panel["seen"]>): void {
  context.save();
  context.beginPath();
  context.rect(panel.x, panel.y, panel.width, panel.height);
  context.rect(panel.x + seen.x, panel.y + seen.y, seen.width, seen.height);
  context.clip("evenodd");
  context.fillStyle = "rgba(10,11,13,.68)";
  context.fillRect(panel.x, panel.y, panel.width, panel.height);
  context.strokeStyle = "rgba(255,255,255,.34)";
  context.lineWidth = 3;
  context.beginPath();
  for (let at = -panel.height; at < panel.width; at += STRIPES) {
    context.moveTo(panel.x + at, panel.y + panel.height);
    context.lineTo(panel.x + at + panel.height, panel.y);
  }
  context.stroke();
  context.restore();
}

function stroke(context: CanvasRenderingContext2D, panel: Placed, line: Line): void {
  context.globalAlpha = 0.15 + 0.8 * line.strength;
  context.strokeStyle = "#ffffff";
  context.lineWidth = 0.6 + 1.6 * line.strength;
  context.beginPath();
  context.moveTo(panel.x + line.x0, panel.y + line.y0);
  context.lineTo(panel.x + line.x1, panel.y + line.y1);
  context.stroke();
  context.globalAlpha = 1;
}

function drawBar(context: CanvasRenderingContext2D, panel: Placed, bar: NonNullable<Panel["bar"]>): void {
  const colours = table(bar.colours);
  const y = panel.y + panel.height + 12;
  for (let i = 0; i < LEVELS; i++) {
    context.fillStyle = `rgb(${colours[3 * i]} ${colours[3 * i + 1]} ${colours[3 * i + 2]})`;
    const from = Math.floor((i * panel.width) / LEVELS);
    context.fillRect(panel.x + from, y, Math.ceil(((i + 1) * panel.width) / LEVELS) - from, 10);
  }
  ticksOf(bar.limits).forEach((tick, i) => write(context, short(tick), panel.x + (panel.width * i) / 2, y + 24, 11, "#17181a", 400, (["left", "center", "right"] as const)[i]));
  write(context, bar.unit, panel.x, y + 39, 11, "#5b5f66");
}

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
const number = (value: number) => String(Number(value.toFixed(2)));

/** The sheet as SVG: pictures embedded as PNG, everything else as vectors and text. */
export function sheetSvg(sheet: Sheet): string {
  const page = laidOut(sheet);
  const text = (words: string, x: number, y: number, size: number, colour: string, more = "") =>
    `<text x="${number(x)}" y="${number(y)}" font-size="${size}" fill="${colour}" ${more}>${escaped(words)}</text>`;
  const parts = [text(sheet.title, SIDE, SIDE + 16, 17, "#17181a", 'font-weight="650"'), ...sheet.lines.map((line, i) => text(line, SIDE, SIDE + 38 + 18 * i, 12.5, "#5b5f66"))];
  for (const panel of page.placed) parts.push(text(panel.caption, panel.x, panel.y - 8, 12.5, "#17181a", 'font-weight="600"'), ...panelSvg(panel), ...(panel.bar ? barSvg(panel, panel.bar, text) : []));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${number(page.width)} ${number(page.height)}" width="${number(page.width)}" height="${number(page.height)}" font-family="${escaped(FONT)}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n${parts.join("\n")}\n</svg>\n`;
}

function panelSvg(panel: Placed): string[] {
  const at = `x="${number(panel.x)}" y="${number(panel.y)}" width="${number(panel.width)}" height="${number(panel.height)}"`;
  const images = panel.layers.map((layer) => `<image ${at} preserveAspectRatio="none" opacity="${layer.opacity}" ${layer.sharp ? 'image-rendering="pixelated"' : ""} href="${dataUri(layer.source)}"/>`);
  const links = panel.links.map(
    (line) => `<line x1="${number(panel.x + line.x0)}" y1="${number(panel.y + line.y0)}" x2="${number(panel.x + line.x1)}" y2="${number(panel.y + line.y1)}" stroke="#fff" stroke-width="${number(0.6 + 1.6 * line.strength)}" opacity="${number(0.15 + 0.8 * line.strength)}"/>`,
  );
  const boxes = panel.boxes.flatMap((box) =>
    [["#000", 3.5], ["#fff", 1.75]].map(
      ([colour, width]) => `<rect x="${number(panel.x + box.x)}" y="${number(panel.y + box.y)}" width="${number(box.width)}" height="${number(box.height)}" fill="none" stroke="${colour}" stroke-width="${width}" ${box.dashed ? 'stroke-dasharray="4 3"' : ""}/>`,
    ),
  );
  return [...images, ...(panel.seen ? [hatchSvg(panel, panel.seen)] : []), ...links, ...boxes, ...marksSvg(panel)];
}

function marksSvg(panel: Placed): string[] {
  if (panel.marks.length === 0) return [];
  const id = `marks-${number(panel.x)}`;
  const shapes = panel.marks.flatMap((one) => {
    const path = one.lines.map(([x0, y0, x1, y1]) => `M${number(panel.x + x0)} ${number(panel.y + y0)}L${number(panel.x + x1)} ${number(panel.y + y1)}`).join("");
    const at = markText(panel, one, one.words.length * MARK_FONT * 0.55);
    const words = `<text x="${number(at.x)}" y="${number(at.y)}" font-size="${MARK_FONT}" font-weight="600" fill="#fff" stroke="#000" stroke-width="3" stroke-linejoin="round" paint-order="stroke">${escaped(one.words)}</text>`;
    return [...MARKED(one).map(([colour, width]) => `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linecap="square"/>`), ...(one.words ? [words] : [])];
  });
  const edge = `<clipPath id="${id}"><rect x="${number(panel.x)}" y="${number(panel.y)}" width="${number(panel.width)}" height="${number(panel.height)}"/></clipPath>`;
  return [`<defs>${edge}</defs><g clip-path="url(#${id})">${shapes.join("")}</g>`];
}

function hatchSvg(panel: Placed, seen: NonNullable<Panel["seen"]>): string {
  const [x, y] = [panel.x + seen.x, panel.y + seen.y].map(number);
  const id = `hatch-${number(panel.x)}`;
  const outside = `M${number(panel.x)} ${number(panel.y)}h${number(panel.width)}v${number(panel.height)}h${number(-panel.width)}ZM${x} ${y}v${number(seen.height)}h${number(seen.width)}v${number(-seen.height)}Z`;
  const lines = `<pattern id="${id}" width="10" height="10" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="10" height="10" fill="#0a0b0d" opacity=".68"/><line x1="0" y1="0" x2="0" y2="10" stroke="#fff" stroke-width="3" opacity=".34"/></pattern>`;
  return `<defs>${lines}</defs><path fill="url(#${id})" fill-rule="evenodd" d="${outside}"/>`;
}

function barSvg(panel: Placed, bar: NonNullable<Panel["bar"]>, text: (words: string, x: number, y: number, size: number, colour: string, more?: string) => string): string[] {
  const colours = table(bar.colours);
  const y = panel.y + panel.height + 12;
  const steps = Array.from({ length: LEVELS }, (_, i) => {
    const fill = `rgb(${colours[3 * i]},${colours[3 * i + 1]},${colours[3 * i + 2]})`;
    return `<rect x="${number(panel.x + (i * panel.width) / LEVELS)}" y="${number(y)}" width="${number(panel.width / LEVELS + 0.3)}" height="10" fill="${fill}" shape-rendering="crispEdges"/>`;
  });
  const anchors = ["start", "middle", "end"];
  const ticks = ticksOf(bar.limits).map((tick, i) => text(short(tick), panel.x + (panel.width * i) / 2, y + 24, 11, "#17181a", `text-anchor="${anchors[i]}"`));
  return [...steps, ...ticks, text(bar.unit, panel.x, y + 39, 11, "#5b5f66")];
}

function dataUri(source: CanvasImageSource): string {
  if (source instanceof HTMLCanvasElement) return source.toDataURL("image/png");
  const image = source as HTMLImageElement;
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d")!.drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}
