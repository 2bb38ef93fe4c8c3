/* Saves what is drawn as PNG or SVG. */
import { queryWords } from "../core/catalogue";
import { boxOf } from "../core/geometry";
import type { Drawn } from "../core/marks";
import { NORMS } from "../core/normalise";
import { cellOf } from "../core/catalogue";
import type { Limits } from "../core/colour";
import { sheetCanvas, sheetSvg, type Panel, type Sheet } from "../draw/export";
import { coloursOf } from "../draw/large";
import type { Lines } from "../draw/lines";
import type { Session, Side } from "./session.svelte";

type Kept = { photo: HTMLImageElement; map: HTMLCanvasElement } | null;
export interface Parts {
  a: Kept;
  b: Kept;
  difference: Kept;
  small: HTMLCanvasElement | null;
}

const WIDTH = 560;

export function save(session: Session, parts: Parts, lines: Lines | null, marks: (side: "a" | "b") => Drawn[], words: (side: "a" | "b") => string, kind: "png" | "svg"): void {
  const source = session.source;
  if (!source) return;
  const sheet = sheetOf(session, parts, lines, marks, words);
  const name = `${source.photo.replace(/\.[^.]*$/, "")}-${session.state.method}.${kind}`;
  if (kind === "svg") return download(new Blob([sheetSvg(sheet)], { type: "image/svg+xml" }), name);
  sheetCanvas(sheet).toBlob((blob) => (blob ? download(blob, name) : session.fail(new Error("this browser could not make a PNG"))), "image/png");
}

function sheetOf(session: Session, parts: Parts, lines: Lines | null, marks: (side: "a" | "b") => Drawn[], words: (side: "a" | "b") => string): Sheet {
  const { state, source, difference } = session;
  const panels: Panel[] = [];
  const unit = (raw: string) => (state.norm === "raw" ? raw : NORMS[state.norm]);
  const add = (kept: Kept, side: Side, caption: string, limits: Limits, words: string, links: Lines | null) => {
    if (!kept || !side.source) return;
    const [height, width] = side.source.frame.photo_size;
    const scale = WIDTH / width;
    const [y0, x0, y1, x1] = side.source.frame.covered;
    const all = y0 < 0.5 && x0 < 0.5 && y1 > height - 0.5 && x1 > width - 0.5;
    const cell = cellOf(side.state.query);
    const box = cell ? boxOf(side.source.frame, cell) : null;
    panels.push({
      caption,
      width: WIDTH,
      height: height * scale,
      layers: [{ source: kept.photo, opacity: 1, sharp: false }, { source: kept.map, opacity: state.overlay, sharp: !state.smooth }],
      seen: all ? null : { y: y0 * scale, x: x0 * scale, height: (y1 - y0) * scale, width: (x1 - x0) * scale },
      boxes: box ? [{ y: box[0] * scale, x: box[1] * scale, height: (box[2] - box[0]) * scale, width: (box[3] - box[1]) * scale, dashed: !state.fixed }] : [],
      links: (links?.between ?? []).map((line) => ({ ...line, y0: line.y0 * scale, x0: line.x0 * scale, y1: line.y1 * scale, x1: line.x1 * scale })),
      marks: marks(side === session.b ? "b" : "a").map((one) => scaled(one, scale)),
      bar: { limits, colours: coloursOf(limits, state.palette), unit: words },
    });
  };
  add(parts.a, session.a, session.comparing ? `A · ${words("a")}` : words("a"), session.limits.a, unit(session.a.map?.unit ?? ""), lines);
  if (session.comparing) {
    add(parts.b, session.b, `B · ${words("b")}`, session.limits.b, unit(session.b.map?.unit ?? ""), null);
    if (difference && typeof difference !== "string") add(parts.difference, session.a, "A − B", difference.limits, `${unit(session.a.map?.unit ?? "")}, difference`, null);
  }
  if (parts.small && session.small) {
    const limits = session.small.limits[0]!;
    const height = panels[0]?.height ?? WIDTH;
    const width = (height * parts.small.width) / parts.small.height;
    panels.push({
      caption: `Layers down, heads across; from ${queryWords(source!, session.a.rowsQuery)}`,
      width,
      height,
      layers: [{ source: parts.small, opacity: 1, sharp: true }],
      boxes: [],
      links: [],
      marks: [],
      seen: null,
      bar: state.range === "shared" ? { limits, colours: coloursOf(limits, state.palette), unit: unit("attention weight") } : null,
    });
  }
  return { title: source!.photo, lines: [`${source!.model}${source!.weights ? `, weights ${source!.weights}` : ""}`, `values ${state.norm}, colour range ${state.range}`], panels };
}

function scaled(one: Drawn, by: number): Drawn {
  return { ...one, lines: one.lines.map(([x0, y0, x1, y1]) => [x0 * by, y0 * by, x1 * by, y1 * by]), x: one.x * by, y: one.y * by };
}

export function download(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
