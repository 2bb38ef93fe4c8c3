/* Texts as targets of a two-tower model: what is typed, as it stands in the state ("text:a photo of a cat") and as people read it. */
import { methodOf, type Catalogue, type Source } from "./catalogue";
import type { State } from "./state";

const TEXT = "text:";
const MOST = 20;

/** Whether any text can be asked for: the model reads texts, and something here can compute. */
export const readsTexts = (catalogue: Catalogue, source: Source): boolean => catalogue.capabilities.live && (source.target_forms ?? []).some((form) => form.startsWith(TEXT));

/** A target as people read it. */
export const wordsOf = (target: string | null): string => (target?.startsWith(TEXT) ? target.slice(TEXT.length).trim() : (target ?? ""));

/** What is typed as a target: a text (a class of such a model is one too), unless it is written as another target is; null where nothing is typed. */
export function targetOf(source: Source, typed: string): string | null {
  const said = typed.trim();
  if (said === "") return null;
  const form = (text: string) => text.split(":")[0]! + ":";
  return (source.target_forms ?? []).some((one) => said.startsWith(form(one))) ? said : TEXT + said;
}

/** The texts used so far and those of a state, the latest first. */
export function remembered(texts: readonly string[], state: State): readonly string[] {
  const compared = state.compare && "target" in state.compare ? state.compare.target : null;
  const used = [compared, state.against, state.target].filter((target) => target?.startsWith(TEXT)) as string[];
  return used.every((target) => texts.includes(target)) ? texts : [...new Set([...used, ...texts])].slice(0, MOST);
}

/** Whether a map waits for a text: the method explains one answer, and the model has none of its own. */
export const needsText = (catalogue: Catalogue, source: Source, state: State): boolean =>
  state.target === null && source.labels.length === 0 && readsTexts(catalogue, source) && (methodOf(source, state.method)?.class_specific ?? false);
