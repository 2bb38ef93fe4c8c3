/* What is explained, drawn on the photo; the same lines as `views/marks.py` draws. */
import type { BoxFact, Mark, Source, XY } from "./catalogue";
import { percent } from "./reading";

/** Boxes drawn at most. */
const MOST = 100;

/** Of the cross at a pixel, in longer sides of the photo: how far it reaches, and how near it comes. */
const ARM = 0.04;
const GAP = 0.008;

export interface Drawn {
  /** (x0, y0, x1, y1) in pixels of the photo. */
  lines: XY[];
  /** Label and score; "" where nothing is written. */
  words: string;
  /** Upper left corner of the words, inside the photo. */
  x: number;
  y: number;
  /** What the map is about. */
  chosen: boolean;
  /** Of a box. */
  number: number | null;
}

/** The boxes from a probability on and what a map is about, which comes last; nothing where `from` is null. */
export function drawnOn(source: Source, from: number | null, mark: Mark | null): Drawn[] {
  if (from === null) return [];
  const found = source.boxes?.found ?? [];
  const chosen = mark?.kind === "box" ? mark.number : undefined;
  const shown = found.filter((one, i) => (i < MOST && one.probability >= from) || one.number === chosen);
  const ordered = (shown.length ? shown : found.slice(0, 1)).toSorted((a, b) => Number(a.number === chosen) - Number(b.number === chosen) || a.probability - b.probability);
  const boxes = ordered.map((one) => boxDrawn(source, one, one.number === chosen));
  if (!mark?.box || mark.kind === "box") return boxes;
  const lines = mark.kind === "pixel" ? cross(mark.box, Math.max(...source.frame.photo_size)) : mark.outline?.length ? mark.outline : around(mark.box);
  return [...boxes, { lines, words: "", ...corner(source, mark.box), chosen: true, number: null }];
}

export const boxWords = (one: BoxFact): string => `${one.label} ${percent(one.probability)}`;

function boxDrawn(source: Source, one: BoxFact, chosen: boolean): Drawn {
  return { lines: around(one.box), words: boxWords(one), ...corner(source, one.box), chosen, number: one.number };
}

const around = ([x0, y0, x1, y1]: XY): XY[] => [[x0, y0, x1, y0], [x1, y0, x1, y1], [x1, y1, x0, y1], [x0, y1, x0, y0]];

function cross([x0, y0, x1, y1]: XY, side: number): XY[] {
  const [x, y, near, far] = [(x0 + x1) / 2, (y0 + y1) / 2, GAP * side, ARM * side];
  return [[x - far, y, x - near, y], [x + near, y, x + far, y], [x, y - far, x, y - near], [x, y + near, x, y + far]];
}

function corner(source: Source, box: XY): { x: number; y: number } {
  const [height, width] = source.frame.photo_size;
  return { x: Math.min(Math.max(box[0], 0), width), y: Math.min(Math.max(box[1], 0), height) };
}

/** Lines as an SVG path. */
export const pathOf = (lines: XY[]): string => lines.map(([x0, y0, x1, y1]) => `M${x0} ${y0}L${x1} ${y1}`).join("");
