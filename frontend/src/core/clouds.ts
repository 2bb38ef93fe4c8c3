/* Clouds: many photos (or tokens) as points of one or several maps. What there is, what the view remembers of it, and what a host answers. */
import { ViewError } from "./errors";
import type { Frame } from "./catalogue";

export interface CloudMap {
  layer: number;
  method: string;
  dims: 2 | 3;
  title: string;
  quality: string[];
}

export interface CloudColumn {
  name: string;
  kind: "category" | "number";
  /** Commonest first; a point's code is the index here, NO_CATEGORY where it has none. */
  categories?: string[];
  low?: number;
  high?: number;
}

/** Whether rows have pictures (or attention), and which ones where not all. */
export interface Carried {
  how: "live" | "carried" | "none";
  why: string;
  rows?: number[];
}

export interface Cloud {
  title: string;
  count: number;
  maps: CloudMap[];
  columns: CloudColumn[];
  curve: { layer: number; knn_accuracy: number }[];
  accuracy: number | null;
  layers_note: string;
  pictures: Carried;
  attention: Carried;
  /** Neighbours in the original space. */
  nearest?: Carried;
  open: boolean;
  /** The map that is shown where nobody chose one. */
  opens?: number;
  block?: number;
  left_out?: string;
}

export const NO_CATEGORY = 65535;

/** Positions of one map, `[m, dims]` in 0..65535 within `low..high` (one scale on every axis). */
export interface Positions {
  data: Uint16Array;
  dims: 2 | 3;
  low: number[];
  high: number[];
}

export type ColumnValues = Uint16Array | Float32Array;
export type TableRow = Record<string, string | number | boolean | null>;

export interface Thumbs {
  /** JPEG bytes of each row that has a picture. */
  pictures: Map<number, Uint8Array<ArrayBuffer>>;
  failed: Map<number, string>;
}

export interface PhotoAttention {
  row: number;
  values: Float32Array;
  frame: Frame;
  words: string;
}

export interface Neighbour {
  row: number;
  distance: number;
}

/** What a host answers about its clouds. */
export interface Clouds {
  points(cloud: number, map: number, signal: AbortSignal): Promise<Positions>;
  column(cloud: number, name: string, signal: AbortSignal): Promise<ColumnValues>;
  table(cloud: number, rows: number[], map: number, signal: AbortSignal): Promise<TableRow[]>;
  thumbs(cloud: number, rows: number[], size: number, signal: AbortSignal): Promise<Thumbs>;
  attentions(cloud: number, rows: number[], signal: AbortSignal): AsyncIterable<PhotoAttention | { row: number; error: string }>;
  nearest(cloud: number, row: number, k: number, layer: number, signal: AbortSignal): Promise<Neighbour[]>;
}

export type Quaternion = [number, number, number, number];
export type Outline = [number, number][];

export interface Camera {
  x: number;
  y: number;
  zoom: number;
  turn: Quaternion;
}

/** What the view remembers of the scatter; null in `State.points` is all of this at its default. */
export interface PointsState {
  cloud: number;
  map: number;
  /** Column that colours; null the cloud's own first choice, "" none. */
  colour: string | null;
  /** Null: the map's own first view. */
  camera: Camera | null;
  /** Corners in the projected plane; see `lasso_at`. */
  lasso: Outline | null;
  /** The map and the turn the lasso was drawn at; null: those of this state. */
  lasso_at: { map: number; turn: Quaternion } | null;
  focus: number | null;
  /** Times the usual size of a point. */
  size: number;
  /** Codes switched off in the legend. */
  hidden: number[];
}

export const UPRIGHT: Quaternion = [0, 0, 0, 1];
export const HOME: Readonly<Camera> = Object.freeze({ x: 0.5, y: 0.5, zoom: 1, turn: UPRIGHT });
/** A cube is first seen from a corner: two of its axes alone would look flat. */
export const CORNER: Quaternion = [0.2059, -0.3604, -0.0822, 0.906];
export const POINTS: Readonly<PointsState> = Object.freeze({ cloud: 0, map: 0, colour: null, camera: null, lasso: null, lasso_at: null, focus: null, size: 1, hidden: [] });
/** Between which people zoom and size; a state may say more, see CHECKS, as `views/points_state.py` allows. */
export const [LEAST_ZOOM, MOST_ZOOM] = [0.1, 1000];
export const [LEAST_SIZE, MOST_SIZE] = [0.25, 4];
const MOST_CORNERS = 20_000;

const count = (v: unknown): boolean => Number.isInteger(v) && (v as number) >= 0;
const finite = (v: unknown): boolean => typeof v === "number" && Number.isFinite(v);
const record = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);
const isTurn = (v: unknown): boolean => Array.isArray(v) && v.length === 4 && v.every(finite) && v.some((part) => part !== 0);
const isOutline = (v: unknown): boolean =>
  Array.isArray(v) && v.length >= 3 && v.length <= MOST_CORNERS && v.every((corner) => Array.isArray(corner) && corner.length === 2 && corner.every(finite));
const only = (v: Record<string, unknown>, ...keys: string[]): boolean => Object.keys(v).every((key) => keys.includes(key));

const CHECKS: Record<keyof PointsState, (v: unknown) => boolean> = {
  cloud: count,
  map: count,
  colour: (v) => v === null || typeof v === "string",
  camera: (v) => record(v) && only(v, "x", "y", "zoom", "turn") && finite(v.x ?? 0) && finite(v.y ?? 0) && isZoom(v.zoom ?? 1) && isTurn(v.turn ?? UPRIGHT),
  lasso: (v) => v === null || isOutline(v),
  lasso_at: (v) => v === null || (record(v) && only(v, "map", "turn") && count(v.map) && isTurn(v.turn)),
  focus: (v) => v === null || count(v),
  size: (v) => finite(v) && (v as number) >= 0.1 && (v as number) <= 50,
  hidden: (v) => Array.isArray(v) && v.every((code) => count(code) && code <= NO_CATEGORY),
};
const isZoom = (v: unknown): boolean => finite(v) && (v as number) >= 1e-3 && (v as number) <= 1e6;

/** Whether `State.points` can be this. */
export const isPoints = (v: unknown): boolean =>
  v === null || (record(v) && Object.entries(v).every(([key, value]) => Object.hasOwn(CHECKS, key) && CHECKS[key as keyof PointsState](value)));
export const POINTS_WORDS = "null or an object of cloud, map, colour, camera, lasso, lasso_at, focus, size, hidden";

/** All keys from some; the map that is not said is the one the cloud opens on. */
export const pointsOf = (given: Partial<PointsState> | null, clouds: Cloud[] = []): PointsState => ({
  ...startOf(given?.cloud, clouds),
  ...given,
  camera: given?.camera ? { ...HOME, ...given.camera } : null,
});
const startOf = (cloud = 0, clouds: Cloud[]): PointsState => ({ ...POINTS, map: clouds[cloud]?.opens ?? 0 });

/** Where a map is seen from: as chosen, or the whole of it, a cube from a corner. */
export const cameraOf = (points: PointsState, dims: number): Camera => points.camera ?? (dims === 3 ? { ...HOME, turn: CORNER } : HOME);

/** Only what differs from the default; null where nothing does. */
export function differingPoints(points: PointsState, clouds: Cloud[] = []): Partial<PointsState> | null {
  const start = startOf(points.cloud, clouds);
  const entries = Object.entries(points).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(start[key as keyof PointsState]));
  return entries.length ? (Object.fromEntries(entries) as Partial<PointsState>) : null;
}

/** The points of a state as far as these clouds can show them, and a sentence for what they cannot. */
export function fittedPoints(given: Partial<PointsState> | null, clouds: Cloud[]): { points: Partial<PointsState> | null; complaints: string[] } {
  if (given === null) return { points: null, complaints: [] };
  if (clouds.length === 0) return { points: null, complaints: ["points: there is no cloud"] };
  const complaints: string[] = [];
  const out = pointsOf(given, clouds);
  if (out.cloud >= clouds.length) {
    complaints.push(`cloud ${out.cloud} of ${clouds.length}`);
    return { points: null, complaints };
  }
  const cloud = clouds[out.cloud]!;
  if (out.map >= cloud.maps.length || (out.lasso_at?.map ?? 0) >= cloud.maps.length) {
    complaints.push(`map ${Math.max(out.map, out.lasso_at?.map ?? 0)} of ${cloud.maps.length}`);
    Object.assign(out, { map: cloud.opens ?? 0, lasso: null, lasso_at: null, camera: null });
  }
  if (out.colour && !cloud.columns.some((column) => column.name === out.colour)) {
    complaints.push(`column ${out.colour}`);
    Object.assign(out, { colour: null, hidden: [] });
  }
  if (out.focus !== null && out.focus >= cloud.count) {
    complaints.push(`point ${out.focus} of ${cloud.count}`);
    out.focus = null;
  }
  return { points: differingPoints(out, clouds), complaints };
}

/** The column that colours: the one chosen, or labels, then predictions, then the first. */
export function colourColumn(cloud: Cloud, points: PointsState): CloudColumn | null {
  if (points.colour !== null) return cloud.columns.find((column) => column.name === points.colour) ?? null;
  const named = (name: string) => cloud.columns.find((column) => column.name === name);
  return named("label") ?? named("predicted") ?? cloud.columns[0] ?? null;
}

/** Clouds of a catalogue, checked as far as a wrong one would draw something wrong. */
export function checkClouds(clouds: Cloud[]): Cloud[] {
  for (const cloud of clouds) {
    if (!Number.isInteger(cloud.count) || cloud.count < 1) throw new ViewError(`cloud ${cloud.title}: ${cloud.count} points`);
    if (cloud.maps.length === 0) throw new ViewError(`cloud ${cloud.title}: no map`);
    for (const map of cloud.maps) if (map.dims !== 2 && map.dims !== 3) throw new ViewError(`cloud ${cloud.title}: ${map.title} has ${String(map.dims)} axes; this page draws 2 or 3`);
  }
  return clouds;
}
