/* The scatter as one page: title, map with its axes, legend, and what to think of it. */
import type { Camera, Outline, Positions } from "../core/clouds";
import { cubeOf, ticksOf } from "./axes";
import { FADED, NOT_DRAWN, css, type Colour } from "./colours";
import { at, pixelOf, planeOf, viewOf, type View } from "./project";
import type { Mark, Page } from "./sheet";
import { corner, fogOf, type Points } from "./splat";

/** Above this, the points of an SVG are one embedded picture. */
export const MOST_DISCS = 50_000;
const [SIDE, BELOW, LEGEND, LINE] = [28, 26, 190, 17];
const [INK, SOFT, RULE] = ["#17181a", "#5b5f66", "#c9ccd1"];

export interface Drawing {
  title: string;
  lines: string[];
  notes: string[];
  legend: { words: string; colour: Colour | null }[];
  positions: Positions;
  camera: Camera;
  outline: Outline | null;
  width: number;
  height: number;
  /** The points painted on white, at the density asked. */
  picture: HTMLCanvasElement;
}

/** The page; with `discs`, points are single circles. */
export function pageOf(drawing: Drawing, discs: Mark[] | null): Page {
  const { width, height, positions, camera } = drawing;
  const top = SIDE + 24 + LINE * drawing.lines.length + 8;
  const view = viewOf(planeOf(positions.dims, camera.turn), camera, width, height);
  const total = { width: SIDE * 2 + width + LEGEND, height: Math.max(top + height + BELOW + LINE * drawing.notes.length + SIDE, top + LINE * (drawing.legend.length + 2)) };
  const marks: Mark[] = [
    { kind: "rect", x: 0, y: 0, ...total, fill: "#ffffff" },
    ...(discs ? moved(discs, SIDE, top) : [{ kind: "image", x: SIDE, y: top, width, height, from: drawing.picture } as Mark]),
    ...frame(drawing, view, top),
    { kind: "text", x: SIDE, y: SIDE + 10, size: 17, words: drawing.title, fill: INK, weight: 650 },
    ...drawing.lines.map((words, i): Mark => ({ kind: "text", x: SIDE, y: SIDE + 32 + LINE * i, size: 12.5, words, fill: SOFT })),
    ...drawing.notes.map((words, i): Mark => ({ kind: "text", x: SIDE, y: top + height + BELOW + LINE * (i + 1), size: 12, words, fill: SOFT })),
    ...legendMarks(drawing, SIDE + width + 18, top + 10),
  ];
  return { ...total, marks };
}

/** Points outside the frame are left out already; discs cut by it are kept whole. */
const moved = (marks: Mark[], x: number, y: number): Mark[] => marks.map((mark) => (mark.kind === "disc" ? { ...mark, x: mark.x + x, y: mark.y + y } : mark));

function frame(drawing: Drawing, view: View, top: number): Mark[] {
  const { width, height, positions, camera } = drawing;
  const box: [number, number][] = [[SIDE, top], [SIDE + width, top], [SIDE + width, top + height], [SIDE, top + height]];
  const marks: Mark[] = [{ kind: "path", corners: box, stroke: RULE }];
  if (positions.dims === 2) {
    const ticks = ticksOf(positions, camera, view);
    marks.push(...ticks.x.map((tick): Mark => ({ kind: "text", x: SIDE + tick.at, y: top + height + 15, size: 10.5, words: tick.words, fill: SOFT, anchor: "middle" })));
    marks.push(...ticks.y.map((tick): Mark => ({ kind: "text", x: SIDE - 5, y: top + tick.at + 3.5, size: 10.5, words: tick.words, fill: SOFT, anchor: "end" })));
  } else
    for (const edge of cubeOf(view.plane, camera, view)) marks.push({ kind: "line", x0: SIDE + edge.x0, y0: top + edge.y0, x1: SIDE + edge.x1, y1: top + edge.y1, stroke: RULE, width: 0.75 });
  if (drawing.outline) marks.push({ kind: "path", corners: drawing.outline.map(([u, v]) => pixelOf(camera, view, u, v)).map(([x, y]) => [SIDE + x, top + y]), stroke: INK });
  return marks;
}

function legendMarks(drawing: Drawing, x: number, y: number): Mark[] {
  return drawing.legend.flatMap((entry, i): Mark[] => [
    ...(entry.colour ? [{ kind: "disc", x: x + 5, y: y + LINE * i - 4, r: 4.5, fill: css(entry.colour) } as Mark] : []),
    { kind: "text", x: x + (entry.colour ? 15 : 0), y: y + LINE * i, size: 11.5, words: shortened(entry.words, 27), fill: entry.colour ? INK : SOFT, weight: entry.colour ? 400 : 600 },
  ]);
}

const shortened = (words: string, most: number): string => (words.length > most ? `${words.slice(0, most - 1)}…` : words);

/** Every point in view as a circle where the picture has it: in drawing order, in 3-D far ones first, selected ones last. */
export function discsOf(points: Points, view: View, size: number, colours: Uint32Array): Mark[] {
  const found: { x: number; y: number; z: number; ink: number }[] = [];
  const { dims } = view.plane;
  for (let i = 0; i < points.ink.length; i++) {
    const ink = points.ink[i]!;
    if (ink === NOT_DRAWN) continue;
    const [x, y] = [at(view.x, points.data, dims, i), at(view.y, points.data, dims, i)];
    if (corner(x, size) <= -size || corner(y, size) <= -size || x >= view.width + size || y >= view.height + size) continue;
    found.push({ x, y, z: dims === 3 ? at(view.plane.depth, points.data, 3, i) : 0, ink });
  }
  if (dims === 3) found.sort((a, b) => a.z - b.z);
  const layers = [...found.filter((one) => one.ink >= FADED), ...found.filter((one) => one.ink < FADED)];
  return layers.map(({ x, y, z, ink }) => ({ kind: "disc", x, y, r: size / 2, fill: hex(colours[(dims === 3 ? fogOf(z) : 0) * 512 + ink]!) }));
}

const hex = (pixel: number): string => `#${[0, 8, 16].map((shift) => ((pixel >>> shift) & 255).toString(16).padStart(2, "0")).join("")}`;
