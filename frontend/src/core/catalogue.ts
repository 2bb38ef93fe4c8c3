/* What there is to look at: plain JSON from Python. */
import type { AuditSource } from "./audit";
import { checkClouds, type Cloud } from "./clouds";
import { ViewError } from "./errors";

export interface Frame {
  photo_size: [number, number];
  input_size: [number, number];
  scale: [number, number];
  offset: [number, number];
  seen: [number, number, number, number];
  covered: [number, number, number, number];
  grid: [number, number];
  patch: [number, number];
  stride: [number, number];
  origin: [number, number];
}

export interface NamedToken {
  id: string;
  name: string;
  kind: string;
  token: number;
}

export interface Method {
  name: string;
  title: string;
  available: boolean;
  why: string;
  class_specific: boolean;
  signed: boolean;
  options: string[];
  shows: string;
  does_not_show: string;
  source: string;
  progressive: boolean;
}

/** Where on the photo what a map explains is read: a pixel, a region, or a detector's box (the boxes say where it is). */
export interface Mark {
  kind: "pixel" | "region" | "box";
  number?: number;
  /** (x0, y0, x1, y1) in pixels of the photo. */
  box?: XY;
  /** Lines along the border of a region that is no rectangle. */
  outline?: XY[];
}

export type XY = [number, number, number, number];

/** One box of a detector; it may reach beyond the photo. */
export interface BoxFact {
  number: number;
  label: string;
  probability: number;
  box: XY;
}

export interface Boxes {
  /** Likeliest first. */
  found: BoxFact[];
  /** Why boxes cannot be asked where they looked; "" where they can. */
  why: string;
  /** The layers in which they look, where those are not the patches' own. */
  layers?: Layer[];
}

/** `grid`, `seen`: of a hierarchical model, the layer's own grid and how many tokens one query sees there. */
export interface Layer {
  path: string;
  heads: number;
  kind: string;
  grid?: [number, number];
  seen?: number;
}

export interface StoredMap {
  name: string;
  method: string;
  layer: number | null;
  head: string;
  query: string;
  target: string;
  mark?: Mark | null;
  unit: string;
  signed: boolean;
  notes: string[];
  hidden?: Record<string, number>;
  array: string;
}

export interface Stored {
  block: number;
  rows: boolean;
  means: boolean;
  /** Ids of tokens whose rows of every head are carried as `named/<i>`. */
  named?: string[];
  maps: StoredMap[];
  precision: string;
}

export interface Source {
  photo: string;
  model: string;
  weights: string;
  picture: string;
  frame: Frame;
  padded: [number, number][];
  tokens: { n: number; patches: number[]; named: NamedToken[] };
  pooled: { name: string } | null;
  /** The layers that patches and named tokens ask; a detector's boxes may have their own. */
  layers: Layer[];
  boxes?: Boxes | null;
  /** Why the model has no rows over all tokens; "" where it has. */
  no_rows?: string;
  /** How targets that are no label are written: "pixel:ROW,COLUMN". */
  target_forms?: string[];
  top: [string, number][];
  labels: string[];
  methods: Method[];
  sinks: { token: number; received: number }[];
  notes: string[];
  size_note: string;
  stored?: Stored | null;
  audit?: AuditSource;
}

export interface Capabilities {
  live: boolean;
  upload: boolean;
  why: string;
  precision: string;
  /** Photos below a folder that the server was given can be opened. */
  files?: boolean;
  limits?: { upload_bytes: number; pixels: number } | null;
}

export interface Catalogue {
  format: 1;
  sources: Source[];
  models: { id: string; name: string }[];
  capabilities: Capabilities;
  /** Many photos as points; the photo view stands below them. */
  clouds?: Cloud[];
}

/** The same catalogue, or an error that says what is wrong with it. */
export function checkCatalogue(value: unknown): Catalogue {
  const found = value as Catalogue;
  if (!found || typeof found !== "object" || found.format !== 1) throw new ViewError(`a catalogue of format ${String(found?.format)}; this page reads format 1`);
  for (const source of found.sources) {
    const [rows, columns] = source.frame.grid;
    const count = source.tokens.patches.length;
    if (count !== rows * columns) throw new ViewError(`${source.photo}: ${count} patch tokens for a ${rows}×${columns} grid`);
  }
  checkClouds(found.clouds ?? []);
  return found;
}

/** Where each attention row of a query lies: `heads[m]` for the m-th row, `first[layer]` for a layer's first. */
export interface Stack {
  first: number[];
  heads: number[];
  count: number;
  widest: number;
}

export function stackOf(source: Source): Stack {
  const heads = source.layers.map((layer) => layer.heads);
  const first: number[] = [];
  let count = 0;
  for (const n of heads) {
    first.push(count);
    count += n;
  }
  return { first, heads, count, widest: Math.max(1, ...heads) };
}

/** Kinds of tokens for people, as `views/words.py` has them. */
export const KIND_WORDS: Record<string, string> = {
  cls: "CLS",
  register: "registers",
  distill: "distillation token",
  text: "text tokens",
  query: "query tokens",
  pad: "pad tokens",
  padding: "padded patches",
};

export type Cell = [number, number];

/** The grid cell of a query "row,column"; null for the named ones. */
export function cellOf(query: string): Cell | null {
  const match = /^(\d+),(\d+)$/.exec(query);
  return match ? [Number(match[1]), Number(match[2])] : null;
}

export const queryOf = (cell: Cell): string => `${cell[0]},${cell[1]}`;

/** The token a query stands for; null for the pooled query, which may be several. */
export function tokenOf(source: Source, query: string): number | null {
  if (query === "pooled") return null;
  const cell = cellOf(query);
  const [rows, columns] = source.frame.grid;
  if (cell) {
    if (cell[0] >= rows || cell[1] >= columns) throw new ViewError(`query ${query} on a ${rows}×${columns} grid`);
    return source.tokens.patches[cell[0] * columns + cell[1]]!;
  }
  const named = source.tokens.named.find((token) => token.id === query);
  if (!named) throw new ViewError(`query ${query}; expected ${queriesOf(source).join(", ")} or "row,column"`);
  return named.token;
}

/** The named queries of a source, pooled first. */
export function queriesOf(source: Source): string[] {
  const named = source.tokens.named.map((token) => token.id);
  const boxes = boxesLook(source) ? source.boxes!.found.map((box) => `box ${box.number}`) : [];
  return [...(source.pooled ? ["pooled"] : []), ...named.filter((id) => !boxes.includes(id)), ...boxes];
}

/** Whether a detector's boxes can be asked where they looked. */
export const boxesLook = (source: Source): boolean => !!source.boxes && source.boxes.why === "" && source.boxes.found.length > 0;

/** The number of the box a query "box 3" names; null for others. */
export function boxOfQuery(query: string): number | null {
  const match = /^box (\d+)$/.exec(query);
  return match ? Number(match[1]) : null;
}

const seen = new WeakMap<Source, Source>();

/** The source as a query sees it: its layers are those in which the query asks. */
export function seenFrom(source: Source, query: string): Source {
  const layers = source.boxes?.layers;
  if (!layers || boxOfQuery(query) === null) return source;
  let own = seen.get(source);
  if (!own) seen.set(source, (own = { ...source, layers, sinks: [] }));
  return own;
}

/** A query in words. */
export function queryWords(source: Source, query: string): string {
  const cell = cellOf(query);
  const box = source.boxes?.found.find((one) => one.number === boxOfQuery(query));
  if (box) return `box ${box.number}: ${box.label}`;
  if (cell) return `patch row ${cell[0]}, column ${cell[1]}`;
  if (query === "pooled") return source.pooled ? `pooled (${source.pooled.name})` : "pooled";
  return source.tokens.named.find((token) => token.id === query)?.name ?? query;
}

/** Bool per patch: all padding. */
export function paddedOf(source: Source): Uint8Array {
  const [rows, columns] = source.frame.grid;
  const out = new Uint8Array(rows * columns);
  for (const [row, column] of source.padded) out[row * columns + column] = 1;
  return out;
}

export const methodOf = (source: Source, name: string): Method | undefined => source.methods.find((method) => method.name === name);

/** The patch values of a map on all tokens, raster order. */
export function patchValues(source: Source, values: Float32Array, at = 0): Float32Array {
  const { patches } = source.tokens;
  const out = new Float32Array(patches.length);
  for (let i = 0; i < patches.length; i++) out[i] = values[at + patches[i]!]!;
  return out;
}
