/* Saves the scatter as PNG or SVG. */
import { onGround, categoryShades, coloursOf, rgb, COLOURS, NONE, type Colour } from "../../points/colours";
import { discsOf, MOST_DISCS, pageOf, type Drawing } from "../../points/export";
import { pageCanvas, pageSvg } from "../../points/sheet";
import { download } from "../saving";
import type { Job, Painter } from "./painter";
import type { Scatter } from "./scatter.svelte";

const WHITE: Colour = [255, 255, 255];
const DENSITY = 2;

/** PNG at twice the size on the screen or the screen's own density, whichever is finer; SVG with circles where they are few enough. */
export function savePlot(job: Job, painter: Painter, kind: "png" | "svg"): void {
  const { scatter } = job;
  const density = Math.max(DENSITY, job.size.density);
  const few = scatter.shades.shown <= MOST_DISCS;
  const drawing = drawingOf(job, painter.onWhite(job, density), kind === "svg" && !few);
  const name = `${scatter.cloud.title} ${scatter.map.title}`.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-|-$/g, "").toLowerCase();
  if (kind === "png") {
    const canvas = pageCanvas(pageOf(drawing, null), density);
    return canvas.toBlob((blob) => (blob ? download(blob, `${name}.png`) : scatter.fail("this browser could not make a PNG")), "image/png");
  }
  const size = painter.diameter(scatter.cloud.count, scatter.points.size, 1);
  const discs = few ? discsOf({ data: job.shown.data, ink: scatter.ink }, job.view, size, painter.pixels(job.kind, WHITE)) : null;
  download(new Blob([pageSvg(pageOf(drawing, discs))], { type: "image/svg+xml" }), `${name}.svg`);
  if (!few) scatter.say(`More than ${MOST_DISCS.toLocaleString("en")} points: in the SVG they are one embedded picture, axes and words are vectors.`);
}

function drawingOf(job: Job, picture: HTMLCanvasElement, embedded: boolean): Drawing {
  const { scatter } = job;
  const { cloud, map, ink, shades } = scatter;
  const number = (n: number) => n.toLocaleString("en");
  const shown = shades.shown === ink.length ? `${number(ink.length)} points` : `${number(shades.shown)} of ${number(ink.length)} points shown`;
  return {
    title: `${cloud.title}: ${map.title}`,
    lines: [`${shown}${scatter.rows ? `, ${number(scatter.rows.length)} selected` : ""}${scatter.column ? `; coloured by ${scatter.column.name}` : ""}`, ...[cloud.layers_note, cloud.left_out ?? ""].filter((line) => line !== "")],
    notes: [...map.quality, ...(embedded ? [`more than ${number(MOST_DISCS)} points: they are one picture`] : [])],
    legend: legendOf(scatter),
    positions: job.shown.positions,
    camera: scatter.camera,
    outline: scatter.outlineHere,
    width: job.size.width,
    height: job.size.height,
    picture,
  };
}

function legendOf(scatter: Scatter): Drawing["legend"] {
  const { column, shades } = scatter;
  if (!column) return [];
  const colours = coloursOf(column.kind, WHITE);
  if (column.kind === "number") {
    const [low, high] = [column.low ?? 0, column.high ?? 1];
    return [{ words: column.name, colour: null }, ...[0, 0.25, 0.5, 0.75, 1].map((part) => ({ words: String(Number((low + part * (high - low)).toPrecision(4))), colour: colours[Math.round(part * 250)]! }))];
  }
  const own = categoryShades(column.categories ?? []);
  const off = new Set(scatter.points.hidden);
  const names = [...own.keys()].slice(0, COLOURS.length).sort((a, b) => own[a]! - own[b]!).filter((code) => !off.has(code));
  const entries = names.map((code) => ({ words: `${column.categories![code]} (${(shades.counts.get(code) ?? 0).toLocaleString("en")})`, colour: colours[own[code]!]! }));
  const rest = shades.shown - names.reduce((sum, code) => sum + (shades.counts.get(code) ?? 0), 0);
  return [{ words: column.name, colour: null }, ...entries, ...(rest ? [{ words: `others or none (${rest.toLocaleString("en")})`, colour: onGround(rgb(NONE), WHITE) }] : [])];
}
