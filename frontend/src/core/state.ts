/* What one looks at: one small JSON, the same in the address, in reports, in notebooks and in Python. */
import { boxesLook, boxOfQuery, cellOf, methodOf, queriesOf, seenFrom, type Catalogue, type Source } from "./catalogue";
import { fittedPoints, isPoints, POINTS_WORDS, type PointsState } from "./clouds";
import { ViewError } from "./errors";

export type Links = { by: "top"; k: number } | { by: "above"; above: number };
export type Compare = { source: number } | { layer: number } | { head: string } | { target: string };
export type Norm = "raw" | "softmax" | "minmax" | "rank";
export type Range = "shared" | "layer" | "map";
export type Palette = "magma" | "viridis" | "grey";
export type Theme = "auto" | "light" | "dark";

export interface State {
  v: 1;
  source: number;
  query: string;
  fixed: boolean;
  /** 0-based; null is the last one. */
  layer: number | null;
  head: string;
  method: string;
  target: string | null;
  against: string | null;
  fuse: "mean" | "max" | "min";
  residual: number;
  discard: number;
  norm: Norm;
  range: Range;
  palette: Palette;
  overlay: number;
  smooth: boolean;
  links: Links | null;
  compare: Compare | null;
  /** Probability from which a detector's boxes are drawn; null draws none, and no mark of a target. */
  boxes: number | null;
  /** The scatter; only what differs from its defaults. */
  points: Partial<PointsState> | null;
  theme: Theme;
}

export const DEFAULTS: Readonly<State> = Object.freeze({
  v: 1,
  source: 0,
  query: "pooled",
  fixed: false,
  layer: null,
  head: "mean",
  method: "attention",
  target: null,
  against: null,
  fuse: "mean",
  residual: 0.5,
  discard: 0,
  norm: "raw",
  range: "layer",
  palette: "magma",
  overlay: 0.7,
  smooth: true,
  links: null,
  compare: null,
  boxes: 0.5,
  points: null,
  theme: "auto",
});

type Check = (value: unknown) => boolean;
const whole: Check = (v) => Number.isInteger(v);
const count: Check = (v) => whole(v) && (v as number) >= 0;
const share: Check = (v) => typeof v === "number" && v >= 0 && v <= 1;
const oneOf = (...words: string[]): Check => (v) => words.includes(v as string);
const text: Check = (v) => typeof v === "string";
const head: Check = (v) => typeof v === "string" && /^(mean|max|min|\d+)$/.test(v);
const label: Check = (v) => v === null || text(v);
const query: Check = (v) => typeof v === "string" && v.length > 0;

const CHECKS: Record<keyof State, [Check, string]> = {
  v: [(v) => v === 1, "1"],
  source: [count, "a whole number from 0"],
  query: [query, 'pooled, cls, "register 0", "box 3" or "row,column"'],
  fixed: [(v) => typeof v === "boolean", "true or false"],
  layer: [(v) => v === null || count(v), "a whole number from 0, or null for the last"],
  head: [head, "mean, max, min or a head number"],
  method: [(v) => text(v) && v !== "", "a method's name"],
  target: [label, "a label or null"],
  against: [label, "a label or null"],
  fuse: [oneOf("mean", "max", "min"), "mean, max or min"],
  residual: [share, "0 to 1"],
  discard: [(v) => share(v) && v !== 1, "0 up to, not including, 1"],
  norm: [oneOf("raw", "softmax", "minmax", "rank"), "raw, softmax, minmax or rank"],
  range: [oneOf("shared", "layer", "map"), "shared, layer or map"],
  palette: [oneOf("magma", "viridis", "grey"), "magma, viridis or grey"],
  overlay: [share, "0 to 1"],
  smooth: [(v) => typeof v === "boolean", "true or false"],
  links: [isLinks, '{"by":"top","k":1..5000}, {"by":"above","above":0..1} or null'],
  compare: [isCompare, "null or one of source, layer, head, target"],
  boxes: [(v) => v === null || share(v), "0 to 1, or null for none"],
  points: [isPoints, POINTS_WORDS],
  theme: [oneOf("auto", "light", "dark"), "auto, light or dark"],
};

function isLinks(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  const links = value as Record<string, unknown>;
  const keys = Object.keys(links).sort().join();
  if (links.by === "top") return keys === "by,k" && whole(links.k) && (links.k as number) >= 1 && (links.k as number) <= 5000;
  return links.by === "above" && keys === "above,by" && share(links.above);
}

function isCompare(value: unknown): boolean {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  const entries = Object.entries(value);
  if (entries.length !== 1) return false;
  const [key, other] = entries[0]!;
  const checks: Record<string, Check> = { source: count, layer: count, head, target: text };
  return checks[key]?.(other) ?? false;
}

/** A whole state from some of its keys; unknown keys or values are an error that names them. */
export function stateOf(given: unknown): State {
  if (given === null || typeof given !== "object" || Array.isArray(given)) throw new ViewError("the state: expected a JSON object");
  const state: Record<string, unknown> = { ...DEFAULTS };
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(CHECKS, key)) throw new ViewError(`the state: unknown key ${key}; expected ${Object.keys(CHECKS).join(", ")}`);
    const [good, expected] = CHECKS[key as keyof State];
    if (!good(value)) throw new ViewError(`the state: ${key} ${JSON.stringify(value)}; expected ${expected}`);
    state[key] = value;
  }
  return state as unknown as State;
}

/** Only what differs from the defaults, and the version. */
export function differing(state: State): Partial<State> {
  const out: Record<string, unknown> = { v: 1 };
  for (const [key, value] of Object.entries(state))
    if (JSON.stringify(value) !== JSON.stringify(DEFAULTS[key as keyof State])) out[key] = value;
  return out as Partial<State>;
}

/** The state as it stands after `#s=`: base64url of its JSON. */
export function encodeState(state: State): string {
  const bytes = new TextEncoder().encode(JSON.stringify(differing(state)));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function decodeState(encoded: string): State {
  let given: unknown;
  try {
    const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
    given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))));
  } catch {
    throw new ViewError("the state in the address is damaged: it is not base64url JSON");
  }
  return stateOf(given);
}

/** The state in an address's fragment, or null where there is none. */
export function stateInHash(hash: string): State | null {
  const encoded = new URLSearchParams(hash.replace(/^#/, "")).get("s");
  return encoded === null ? null : decodeState(encoded);
}

/** The layer a state means on a source: null is the last. */
export const layerOf = (state: State, layers: number): number => state.layer ?? layers - 1;

/** What B shows where two are compared: the same but for one thing. */
export const otherOf = (state: State): State | null => (state.compare ? { ...state, ...state.compare, compare: null } : null);

/** The state as far as the catalogue can show it, and a sentence for each thing it cannot. */
export function fitted(state: State, catalogue: Catalogue): { state: State; complaints: string[] } {
  const complaints: string[] = [];
  const out = { ...state };
  const put = <K extends keyof State>(key: K, value: State[K], why: string) => {
    out[key] = value;
    complaints.push(why);
  };
  const scatter = fittedPoints(out.points, catalogue.clouds ?? []);
  out.points = scatter.points;
  complaints.push(...scatter.complaints);
  const sources = catalogue.sources.length;
  if (sources === 0) return { state: out, complaints };
  if (out.source >= sources) put("source", 0, `photo ${out.source} of ${sources}`);
  const plain = catalogue.sources[out.source]!;
  if (out.query === "pooled" && !plain.pooled && plain.layers.length + (plain.boxes?.layers?.length ?? 0) > 0) {
    out.query = firstQuery(plain);
    out.fixed = boxOfQuery(out.query) !== null; // else pointing would leave the box at once
  }
  if (out.method === DEFAULTS.method && methodOf(plain, out.method)?.available === false) out.method = plain.methods.find((method) => usable(catalogue, plain, method.name))?.name ?? out.method;
  const source = seenFrom(plain, out.query);
  const layers = source.layers.length;
  if (out.layer !== null && out.layer >= layers) put("layer", null, `layer ${out.layer} of ${layers}`);
  const heads = source.layers[layerOf(out, layers)]?.heads ?? 0;
  if (/^\d+$/.test(out.head) && Number(out.head) >= heads) put("head", "mean", `head ${out.head} of ${heads}`);
  if (out.query !== "pooled" && !hasQuery(source, out.query)) put("query", queriesOf(source)[0] ?? "0,0", `query ${out.query}`);
  if (!source.methods.some((method) => method.name === out.method)) put("method", "attention", `method ${out.method}`);
  for (const key of ["target", "against"] as const) {
    const wanted = out[key];
    if (wanted !== null && source.labels.length > 0 && !source.labels.includes(wanted) && !/^\d+$/.test(wanted) && !placed(source, wanted)) put(key, null, `${key} ${wanted}`);
  }
  const compare = out.compare;
  if (compare && "source" in compare && compare.source >= sources) put("compare", null, `comparison with photo ${compare.source} of ${sources}`);
  if (compare && "layer" in compare && compare.layer >= layers) put("compare", null, `comparison with layer ${compare.layer} of ${layers}`);
  if (compare && "head" in compare && /^\d+$/.test(compare.head) && Number(compare.head) >= heads) put("compare", null, `comparison with head ${compare.head} of ${heads}`);
  return { state: out, complaints };
}

/** Where to look from at first, where the head reads nothing: the box that a file's maps are about, or the likeliest. */
function firstQuery(source: Source): string {
  const about = source.stored?.maps.find((map) => map.mark?.kind === "box")?.mark?.number;
  return about !== undefined && boxesLook(source) ? `box ${about}` : (queriesOf(source)[0] ?? "0,0");
}

/** Whether a method can be asked for here: all that are available in a live host, those carried in a file. */
export function usable(catalogue: Catalogue, source: Source, method: string): boolean {
  const known = methodOf(source, method);
  if (!known?.available) return false;
  return catalogue.capabilities.live || (source.stored?.maps ?? []).some((map) => map.method === method);
}

/** Whether a target is written as one that is no label, or is one of those that a file carries. */
export function placed(source: Source, target: string): boolean {
  const form = (text: string) => text.split(":")[0]!;
  return (source.target_forms ?? []).some((one) => target.startsWith(`${form(one)}:`)) || (source.stored?.maps ?? []).some((map) => map.target === target);
}

/** Whether a source has a query of that name. */
export function hasQuery(source: Source, wanted: string): boolean {
  const cell = cellOf(wanted);
  return cell ? cell[0] < source.frame.grid[0] && cell[1] < source.frame.grid[1] : queriesOf(source).includes(wanted);
}
