/* What a state asks of a source: the source as its query sees it, a map's request, and attention as a map. */
import type { MapAnswer, Rows } from "./answers";
import { boxOfQuery, methodOf, seenFrom, type Catalogue, type Source } from "./catalogue";
import type { MapRequest } from "./host";
import { layerOf, type State } from "./state";

/** A photo's source as the state's query sees it. */
export function seenIn(catalogue: Catalogue | null, state: State): Source | null {
  const source = catalogue?.sources[state.source];
  return source ? seenFrom(source, state.query) : null;
}

/** One head's row, or one of all heads, as the map it is. */
export function attentionMap(source: Source, rows: Rows, query: string, head: string, values: Float32Array): MapAnswer {
  const hidden: Record<string, number> = {};
  for (const token of source.tokens.named) hidden[token.kind] = (hidden[token.kind] ?? 0) + values[token.token]!;
  const method = methodOf(source, "attention");
  return {
    values,
    error: null,
    method: "attention",
    title: method?.title ?? "Attention",
    layer: null,
    unit: head === "max" || head === "min" ? `attention weight (${head} over heads)` : "attention weight (row sums to 1)",
    signed: false,
    notes: rows.notes,
    target: "",
    against: "",
    scores: [],
    mark: boxOfQuery(query) === null ? null : { kind: "box", number: boxOfQuery(query)! },
    hidden,
    uniform: 1 / source.tokens.n,
    progress: null,
    precision: rows.precision,
  };
}

/** The settings a method takes, and no others. */
export function requestOf(source: Source, state: State): MapRequest {
  const method = methodOf(source, state.method);
  const takes = (name: string) => method?.options.includes(name) ?? false;
  const request: MapRequest = { source: state.source, method: state.method };
  if (takes("query")) request.query = state.query;
  if (takes("layer") && state.layer !== null) request.layer = layerOf(state, source.layers.length); // else the method's own choice
  if (takes("head")) request.head = state.head;
  if (takes("fuse")) request.fuse = state.fuse;
  if (takes("residual")) request.residual = state.residual;
  if (takes("discard")) request.discard = state.discard;
  if (method?.class_specific && state.target !== null) request.target = state.target;
  if (method?.class_specific && state.against !== null) request.against = state.against;
  return request;
}
