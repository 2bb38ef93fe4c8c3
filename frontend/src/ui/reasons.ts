/* Why a control is off here; "" where it is on. */
import { boxOfQuery, methodOf, type Catalogue, type Method, type Source } from "../core/catalogue";
import type { State } from "../core/state";
import { refusedLinks } from "../core/stored";

export type Control = "layer" | "head" | "fuse" | "target" | "against" | "residual" | "discard" | "links" | "palette" | "upload" | "compare";

export function reasons(catalogue: Catalogue, source: Source, state: State, signed: boolean, perHead: boolean): Record<Control, string> {
  const method = methodOf(source, state.method);
  const { live, why } = catalogue.capabilities;
  const title = method?.title ?? state.method;
  const takes = (name: string) => state.method === "attention" || (method?.options.includes(name) ?? false);
  const settings = (name: "fuse" | "residual" | "discard") => {
    if (!(method?.options.includes(name) ?? false)) return `${title} has no such setting`;
    return live || (state.method === "rollout" && source.stored?.means && name !== "fuse") ? "" : why;
  };
  const rowless = source.layers.length === 0 ? "this model has no rows of attention" : "";
  return {
    layer: rowless && state.method === "attention" ? rowless : takes("layer") || state.links ? "" : `${title} is not of one layer`,
    head: rowless && state.method === "attention" ? rowless : !takes("head") && !state.links ? `${title} is not of one head` : perHead ? "" : "only head means are carried for this query",
    fuse: settings("fuse"),
    residual: settings("residual"),
    discard: settings("discard"),
    target: targetReason(catalogue, source, method, title),
    against: method?.class_specific ? (live ? "" : why) : `${title} is the same for every class`,
    links: rowless || linkless(source, state) || (live ? "" : source.stored ? refusedLinks(source, state.head) : why),
    palette: signed ? "signed values have their own colours" : "",
    upload: catalogue.capabilities.upload ? "" : why || "this host takes no photos",
    compare: "",
  };
}

/** Links lead from patch to patch; a box in a decoder is none. */
const linkless = (source: Source, state: State) => (source.boxes?.layers && boxOfQuery(state.query) !== null ? "links lead from patch to patch: look from a patch" : "");

function targetReason(catalogue: Catalogue, source: Source, method: Method | undefined, title: string): string {
  if (!method?.class_specific) return `${title} is the same for every class`;
  if (catalogue.capabilities.live) return "";
  return targetsOf(catalogue, source, method.name).length > 1 ? "" : catalogue.capabilities.why;
}

/** The labels a method can be asked for: all in a live host, those carried in a file. */
export function targetsOf(catalogue: Catalogue, source: Source, method: string): string[] {
  if (catalogue.capabilities.live) return source.labels;
  return [...new Set((source.stored?.maps ?? []).filter((map) => map.method === method && map.target).map((map) => map.target))];
}
