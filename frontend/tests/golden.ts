/* Values that `fixtures.py` took from the Python functions. */
import { readFileSync } from "node:fs";
import type { BoxFact, Frame, Mark, XY } from "../src/core/catalogue";
import { fromBase64 } from "../src/core/coding";

interface Golden {
  colours: {
    levels: number;
    tables: Record<string, string>;
    cases: { values: string; signed: boolean; low: number; high: number; levels: number[] }[];
    ties: { values: string; levels: number[] };
  };
  drawings: { name: string; frame: Frame; smooth: boolean; grid: string; drawn: string; index: string; padded: [number, number][] }[];
  codes: { rows: string; code: string; max: string; top: string; top_at: string; decoded: string; halves: string };
  norms: { norm: "raw" | "softmax" | "minmax" | "rank"; values: string; out: string }[];
  words: { short: [number, string, string][]; percent: [number, string][] };
  states: { json: Record<string, unknown>; address: string }[];
  marks: { boxes: BoxFact[]; mark: Mark | null; from: number; lines: XY[][]; facts: [string, number, number, boolean][] }[];
  block: { packed: string; shapes: Record<string, number[]> };
}

export const golden = JSON.parse(readFileSync(new URL("fixtures/golden.json", import.meta.url), "utf-8")) as Golden;
export const bytes = (text: string) => fromBase64(text);
export const f4 = (text: string) => new Float32Array(fromBase64(text).buffer);
export const f8 = (text: string) => new Float64Array(fromBase64(text).buffer);
export const u2 = (text: string) => new Uint16Array(fromBase64(text).buffer);
