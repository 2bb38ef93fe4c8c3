/* Answers without Python: from the block a file or a notebook carries. What it does not carry is refused with the reason. */
import type { LinksAnswer, MapAnswer, Rows } from "./answers";
import { arrayOf, type Block } from "./block";
import { boxOfQuery, seenFrom, stackOf, tokenOf, type Source, type StoredMap } from "./catalogue";
import { fromRoots } from "./coding";
import { ViewError } from "./errors";
import type { LinksRequest, MapRequest } from "./host";
import { strongest } from "./links";
import { rolloutFrom, type Means } from "./rollout";

const ROLLOUT_UNIT = "share of rolled-out attention (sums to 1)";

/** Why this source cannot answer for a query; "" where it can. */
export function refusedQuery(source: Source, query: string): string {
  const stored = source.stored;
  if (!stored || query === "pooled" || stored.named?.includes(query)) return "";
  const [box, listed] = [boxOfQuery(query) !== null, stored.named?.filter((name) => boxOfQuery(name) !== null).length ?? 0];
  if (box && source.boxes?.layers) return `this file carries the rows of ${listed} of ${source.boxes.found.length} boxes; this one is not among them`;
  if (stored.rows || stored.means) return "";
  return "this file carries the rows of the pooled query and of named tokens only";
}

/** Rows `[count, n]` of a query: exact for the pooled one, coded for the others, head means where rows of single heads are not there. */
export function storedRows(source: Source, block: Block, query: string): Rows {
  const stored = source.stored!;
  const { n } = source.tokens;
  const refused = refusedQuery(source, query);
  if (refused) throw new ViewError(refused);
  const count = stackOf(seenFrom(source, query)).count;
  if (query === "pooled") return { values: arrayOf(block, "pooled", Float32Array), n, count, heads: true, precision: "float32, exact", notes: [] };
  const named = stored.named?.indexOf(query) ?? -1;
  if (named >= 0) return { values: arrayOf(block, `named/${named}`, Float32Array), n, count, heads: true, precision: "float32, exact", notes: [] };
  const token = tokenOf(source, query)!;
  if (!stored.rows) return { values: meanRows(source, block, token), n, count: source.layers.length, heads: false, precision: stored.precision, notes: ["head means: rows of single heads are not carried for this query"] };
  const values = new Float32Array(count * n);
  for (let m = 0; m < count; m++) storedRow(block, n, m, token, values.subarray(m * n, (m + 1) * n));
  return { values, n, count, heads: true, precision: stored.precision, notes: [] };
}

/** One row of one head: decoded, with the exact values where they are carried. */
function storedRow(block: Block, n: number, m: number, token: number, out: Float32Array): void {
  const at = m * n + token;
  fromRoots(arrayOf(block, "rows", Uint8Array).subarray(at * n, (at + 1) * n), arrayOf(block, "rows_max", Float32Array)[at]!, out);
  if (!("rows_top" in block.arrays)) return;
  const top = arrayOf(block, "rows_top", Float32Array);
  const where = arrayOf(block, "rows_top_at", Uint16Array);
  const k = block.arrays.rows_top!.shape[2]!;
  for (let i = 0; i < k; i++) out[where[at * k + i]!] = top[at * k + i]!;
}

function meansOf(source: Source, block: Block): Means {
  const { n } = source.tokens;
  const code = arrayOf(block, "means", Uint8Array);
  const most = arrayOf(block, "means_max", Float32Array);
  return {
    layers: source.layers.length,
    n,
    row: (layer, query, out) => {
      const at = layer * n + query;
      fromRoots(code.subarray(at * n, (at + 1) * n), most[at]!, out);
    },
  };
}

function meanRows(source: Source, block: Block, token: number): Float32Array {
  const means = meansOf(source, block);
  const values = new Float32Array(means.layers * means.n);
  for (let layer = 0; layer < means.layers; layer++) means.row(layer, token, values.subarray(layer * means.n, (layer + 1) * means.n));
  return values;
}

/** A map the file carries, or a rollout made of its head means. */
export function storedMap(source: Source, block: Block, request: MapRequest): MapAnswer {
  const found = source.stored!.maps.find((map) => carries(map, request, source));
  if (found)
    return { ...plainMap(source, request.method), values: arrayOf(block, found.array, Float32Array), unit: found.unit, layer: found.layer, signed: found.signed, notes: found.notes, hidden: found.hidden ?? {}, target: found.target, mark: found.mark ?? null, precision: "float32, exact" };
  if (request.method === "rollout" && source.stored!.means && (request.fuse ?? "mean") === "mean") return storedRollout(source, block, request);
  throw new ViewError(`this file does not carry ${request.method} for ${wished(request)}; it carries ${carried(source, request.method)}`);
}

function carries(map: StoredMap, request: MapRequest, source: Source): boolean {
  const target = request.target ?? source.top[0]?.[0] ?? "";
  return (
    map.method === request.method &&
    !request.against &&
    (request.layer === undefined || map.layer === null || map.layer === request.layer) &&
    (request.head === undefined || map.head === "" || map.head === request.head) &&
    (request.query === undefined || map.query === "" || map.query === request.query) &&
    (request.target === undefined || map.target === "" || map.target === target || `box:${map.mark?.number}` === target) &&
    (request.fuse ?? "mean") === "mean" &&
    (request.residual ?? 0.5) === 0.5 &&
    (request.discard ?? 0) === 0
  );
}

const wished = (request: MapRequest) =>
  (["query", "layer", "head", "target", "against", "fuse", "residual", "discard"] as const)
    .filter((key) => request[key] !== undefined && request[key] !== "")
    .map((key) => `${key} ${request[key]}`)
    .join(", ") || "these settings";

function carried(source: Source, method: string): string {
  const maps = source.stored!.maps.filter((map) => map.method === method);
  return maps.map((map) => [map.query && `query ${map.query}`, map.layer !== null && `layer ${map.layer}`, map.target && `target ${map.target}`].filter(Boolean).join(", ") || map.name).join("; ") || "no such map";
}

function plainMap(source: Source, method: string): MapAnswer {
  const known = source.methods.find((entry) => entry.name === method);
  return {
    values: new Float32Array(0),
    error: null,
    method,
    title: known?.title ?? method,
    layer: null,
    unit: "",
    signed: known?.signed ?? false,
    notes: [] as string[],
    target: "",
    against: "",
    scores: [],
    mark: null,
    hidden: {},
    uniform: known?.name === "rollout" || known?.name === "attention" ? 1 / source.tokens.n : null,
    progress: null,
    precision: source.stored?.precision ?? "",
  };
}

function storedRollout(source: Source, block: Block, request: MapRequest): MapAnswer {
  const weights = startWeights(source, request.query ?? "pooled");
  const values = rolloutFrom(meansOf(source, block), weights, request.residual ?? 0.5, request.discard ?? 0, source.tokens.patches);
  return { ...plainMap(source, "rollout"), values: Float32Array.from(values), unit: ROLLOUT_UNIT, notes: ["computed here from the head means this file carries"] };
}

/** The weights of a query over the last block's tokens. */
function startWeights(source: Source, query: string): Float64Array {
  const weights = new Float64Array(source.tokens.n);
  const tokens = query === "pooled" ? readTokens(source) : [tokenOf(source, query)!];
  for (const token of tokens) weights[token] = 1 / tokens.length;
  return weights;
}

/** The tokens the head reads, where its name says which. */
function readTokens(source: Source): number[] {
  const name = source.pooled?.name ?? "";
  const kinds = (wanted: string[]) => source.tokens.named.filter((token) => wanted.includes(token.kind)).map((token) => token.token);
  if (name === "patch mean") return source.tokens.patches;
  if (name === "cls") return kinds(["cls"]);
  if (name === "cls and distillation mean") return kinds(["cls", "distill"]);
  throw new ViewError(`this file cannot roll out from a read-out by ${name || "unknown means"}; point at a patch or a token`);
}

/** Why links of a head cannot be drawn; "" where they can. */
export function refusedLinks(source: Source, head: string): string {
  const stored = source.stored;
  if (!stored || stored.rows || (stored.means && head === "mean")) return "";
  return stored.means ? "this file carries links of the head mean only" : "this file carries no links";
}

/** The strongest links of one head, or of the head mean, in one layer. */
export function storedLinks(source: Source, block: Block, request: LinksRequest): LinksAnswer {
  const refused = refusedLinks(source, request.head);
  if (refused) throw new ViewError(refused);
  const { n } = source.tokens;
  if (request.head === "mean" && source.stored!.means) {
    const means = meansOf(source, block);
    return strongest(n, (query, out) => means.row(request.layer, query, out), request.links);
  }
  const stack = stackOf(source);
  const first = stack.first[request.layer]!;
  if (request.head !== "mean") return strongest(n, (query, out) => storedRow(block, n, first + Number(request.head), query, out), request.links);
  const heads = stack.heads[request.layer]!;
  const one = new Float32Array(n);
  return strongest(
    n,
    (query, out) => {
      out.fill(0);
      for (let head = 0; head < heads; head++) {
        storedRow(block, n, first + head, query, one);
        for (let key = 0; key < n; key++) out[key] = out[key]! + one[key]! / heads;
      }
    },
    request.links,
  );
}
