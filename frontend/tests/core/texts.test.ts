import { describe, expect, test } from "vitest";
// @ts-expect-error plain JavaScript
import { MODELS, sourceOf } from "../../dev/mock.mjs";
import type { Catalogue, Source } from "../../src/core/catalogue";
import { decodeState, DEFAULTS, encodeState, fitted, otherOf, stateOf } from "../../src/core/state";
import { needsText, readsTexts, remembered, targetOf, wordsOf } from "../../src/core/texts";

const plain = sourceOf("small", { ...MODELS.wide, grid: [4, 6], layers: 3, heads: 2, pad: 0, photo: [40, 60] }, "") as Source;
const tower: Source = { ...plain, labels: [], top: [], target_forms: ["text:WORDS"] };
const listed: Source = { ...tower, labels: ["a cat", "a dog"] };
const both: Source = { ...tower, target_forms: ["text:WORDS", "pixel:ROW,COLUMN"] };
const of = (source: Source, live = true) => ({ format: 1, sources: [source], models: [], capabilities: { live, upload: false, why: "", precision: "" } }) as Catalogue;

describe("texts as targets", () => {
  test("are asked for where the model reads them and something can compute", () => {
    expect(readsTexts(of(tower), tower)).toBe(true);
    expect(readsTexts(of(tower, false), tower)).toBe(false);
    expect(readsTexts(of(plain), plain)).toBe(false);
  });
  test("what is typed is a text, unless it is written as another target is", () => {
    expect(targetOf(tower, "  a photo of a cat ")).toBe("text:a photo of a cat");
    expect(targetOf(tower, "text:a cat")).toBe("text:a cat");
    expect(targetOf(tower, "box: of chocolates")).toBe("text:box: of chocolates");
    expect(targetOf(listed, "a cat")).toBe("text:a cat");
    expect(targetOf(tower, "pixel:1,2")).toBe("text:pixel:1,2");
    expect(targetOf(both, "pixel:1,2")).toBe("pixel:1,2");
    expect(targetOf(tower, " \t ")).toBeNull();
    for (const words of ["<img src=x onerror=alert(1)>", "猫 & “dog”", "a+b=c&d#e"]) expect(wordsOf(targetOf(tower, words))).toBe(words);
    expect([wordsOf(null), wordsOf("a cat")]).toEqual(["", "a cat"]);
  });
  test("those used are kept, the latest first, each once", () => {
    const one = remembered([], stateOf({ target: "text:a cat", against: "text:the sky" }));
    expect(one).toEqual(["text:the sky", "text:a cat"]);
    expect(remembered(one, stateOf({ target: "text:a cat" }))).toBe(one);
    expect(remembered(one, stateOf({ target: "tabby", compare: { target: "text:two" } }))).toEqual(["text:two", "text:the sky", "text:a cat"]);
    let many: readonly string[] = [];
    for (let i = 0; i < 30; i++) many = remembered(many, stateOf({ target: `text:${i}` }));
    expect([many.length, many[0]]).toEqual([20, "text:29"]);
  });
  test("a map waits for a text where the model has no answer of its own", () => {
    const method = tower.methods.find((one) => one.class_specific)!.name;
    expect(needsText(of(tower), tower, stateOf({ method }))).toBe(true);
    expect(needsText(of(tower), tower, stateOf({ method, target: "text:a cat" }))).toBe(false);
    expect(needsText(of(tower), tower, DEFAULTS)).toBe(false);
    expect(needsText(of(listed), listed, stateOf({ method }))).toBe(false);
    expect(needsText(of(plain), plain, stateOf({ method }))).toBe(false);
  });
  test("stand in the address as they are, and are taken from it beside a list of classes too", () => {
    const state = stateOf({ target: "text:a “photo” of a 猫 <b>", against: "text:the sky", compare: { target: "text:two dog" } });
    expect(decodeState(encodeState(state))).toEqual(state);
    for (const source of [tower, listed]) expect(fitted(state, of(source))).toEqual({ state, complaints: [] });
    expect(fitted(state, of({ ...listed, target_forms: [] })).complaints).toHaveLength(2);
    expect(otherOf(state)).toEqual({ ...state, target: "text:two dog", compare: null });
  });
});
