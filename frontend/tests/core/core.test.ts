import { describe, expect, test, vi } from "vitest";
// @ts-expect-error plain JavaScript
import { MODELS, pack, rowOf, sourceOf, stored } from "../../dev/mock.mjs";
import { inflateRawSync } from "node:zlib";
import { framed, rowsOf } from "../../src/core/answers";
import { unpack } from "../../src/core/block";
import { Cache } from "../../src/core/cache";
import { checkCatalogue, queriesOf, seenFrom, stackOf, tokenOf, type Catalogue, type Source } from "../../src/core/catalogue";
import { RowStore } from "../../src/core/fetching";
import { headRow } from "../../src/core/fuse";
import { boxOf, cellAcross, cellAt, centreOf, resized } from "../../src/core/geometry";
import type { Host } from "../../src/core/host";
import { strongest } from "../../src/core/links";
import { rankOf } from "../../src/core/reading";
import { rolloutFrom } from "../../src/core/rollout";
import { DEFAULTS, decodeState, fitted, otherOf, stateInHash, stateOf } from "../../src/core/state";
import { refusedQuery, storedLinks, storedMap, storedRows } from "../../src/core/stored";
import { golden } from "../golden";

const SMALL = { ...MODELS.wide, grid: [4, 6], layers: 3, heads: 2, pad: 0, photo: [40, 60] };
const { facts, packed } = stored(SMALL, true) as { facts: Source["stored"]; packed: string };
const source = sourceOf("small", SMALL, "", { stored: facts }) as Source;
const block = unpack(inflateRawSync(Buffer.from(packed, "base64")));
const catalogue = { format: 1, sources: [source], models: [], capabilities: { live: false, upload: false, why: "", precision: "" } } as Catalogue;

describe("state", () => {
  test("unknown keys and values are named", () => {
    expect(() => stateOf({ colour: 1 })).toThrow(/unknown key colour/);
    expect(() => stateOf({ norm: "log" })).toThrow(/norm "log"; expected raw, softmax, minmax or rank/);
    expect(() => stateOf({ links: { by: "top", k: 9000 } })).toThrow(/links/);
    expect(() => stateOf({ links: { by: "top", k: 9, above: 1 } })).toThrow(/links/);
    expect(() => stateOf({ compare: { layer: 1, head: "2" } })).toThrow(/compare/);
    expect(() => stateOf({ v: 2 })).toThrow(/v 2; expected 1/);
    expect(() => stateOf([])).toThrow(/JSON object/);
    expect(() => decodeState("%%%")).toThrow(/damaged/);
  });
  test("the fragment of an address", () => {
    expect(stateInHash("#photo-1")).toBeNull();
    expect(stateInHash("")).toBeNull();
    expect(stateInHash(`#s=${golden.states[1]!.address}`)!.query).toBe("3,4");
  });
  test("what the catalogue does not have is said, and left out", () => {
    const { state, complaints } = fitted(stateOf({ layer: 9, head: "7", query: "40,2", method: "magic" }), catalogue);
    expect(state).toEqual(DEFAULTS);
    expect(complaints).toEqual(["layer 9 of 3", "head 7 of 2", "query 40,2", "method magic"]);
  });
  test("B differs in one thing", () => {
    expect(otherOf(stateOf({ layer: 2, compare: { layer: 1 } }))).toEqual(stateOf({ layer: 1 }));
    expect(otherOf(DEFAULTS)).toBeNull();
  });
});

describe("blocks", () => {
  test("what is no block, of another version or cut short is an error", () => {
    const good = pack({ a: ["f4", [2], Float32Array.of(1, 2)] }) as Buffer;
    expect([...unpack(good).arrays.a!.data]).toEqual([1, 2]);
    expect(() => unpack(new Uint8Array(40))).toThrow(/no packed view/);
    const newer = Buffer.from(good);
    newer.writeUInt32LE(2, 8);
    expect(() => unpack(newer)).toThrow(/version 2/);
    expect(() => unpack(good.subarray(0, 20))).toThrow(/cut short/);
    expect(() => unpack(good.subarray(0, good.length - 60))).toThrow(/cut short/);
    expect(() => unpack(pack({ a: ["c8", [1], Float64Array.of(1)] }))).toThrow(/type c8/);
  });
  test("a stream of blocks, in whatever pieces it comes", async () => {
    const one = pack({ rows: ["f4", [1, 2], Float32Array.of(1, 2)] }) as Buffer;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(one.length);
    const all = Buffer.concat([length, one, length, one]);
    for (const size of [1, 7, 64, 5000]) {
      const found: Uint8Array[] = [];
      for await (const each of framed((async function* () { for (let i = 0; i < all.length; i += size) yield all.subarray(i, i + size); })())) found.push(each);
      expect(found.map((each) => [...rowsOf(unpack(each), "").values])).toEqual([[1, 2], [1, 2]]);
    }
    await expect((async () => { for await (const _ of framed((async function* () { yield all.subarray(0, 50); })())); })()).rejects.toThrow(/cut short/);
  });
  test("an error in a later block is that error", () => {
    expect(() => rowsOf(unpack(pack({}, { error: "the work failed" })), "")).toThrow("the work failed");
  });
  test("a catalogue of another format is refused", () => expect(() => checkCatalogue({ format: 2 })).toThrow(/format 2/));
});

describe("geometry", () => {
  test.each(golden.drawings.filter((one) => one.smooth))("every patch is found under its own centre: $name", ({ frame }) => {
    for (let row = 0; row < frame.grid[0]; row++)
      for (let column = 0; column < frame.grid[1]; column++) {
        const [y, x] = centreOf(frame, [row, column]);
        const seen = y >= frame.covered[0] && x >= frame.covered[1] && y <= frame.covered[2] && x <= frame.covered[3];
        expect(cellAt(frame, y, x)).toEqual(seen ? [row, column] : null);
        const box = boxOf(frame, [row, column]);
        if (seen) expect(y >= box[0] && x >= box[1] && y <= box[2] && x <= box[3]).toBe(true);
      }
  });
  test("a photo shown at another size has its patches at the same places", () => {
    for (const { frame } of golden.drawings) {
      const half = resized(frame, frame.photo_size[0] / 2, frame.photo_size[1] / 2);
      const [y, x] = centreOf(frame, [1, 2]);
      const [h, w] = centreOf(half, [1, 2]);
      expect(h).toBeCloseTo(y / 2, 10);
      expect(w).toBeCloseTo(x / 2, 10);
    }
  });
  test("across photos of another grid", () => {
    const [a, b] = [golden.drawings[0]!.frame, golden.drawings.find((one) => one.name.startsWith("overlapping"))!.frame];
    expect(cellAcross(a, [0, 0], a)).toEqual([0, 0]);
    expect(cellAcross(a, [3, 5], b)[0]).toBeGreaterThan(4);
  });
});

describe("rows, links and rollout without Python", () => {
  const rows = storedRows(source, block, "1,2");
  test("coded rows are within their bound, the largest exact", () => {
    expect(rows.count).toBe(6);
    for (let m = 0; m < 6; m++) {
      const exact = rowOf(SMALL, Math.floor(m / 2), m % 2, tokenOf(source, "1,2")) as Float64Array;
      const most = Math.max(...exact);
      const row = rows.values.subarray(m * rows.n, (m + 1) * rows.n);
      row.forEach((v, key) => expect(Math.abs(v - exact[key]!)).toBeLessThanOrEqual(0.004 * most));
      expect(Math.max(...row)).toBe(Math.fround(most));
    }
  });
  test("the pooled row is exact", () => {
    const pooled = storedRows(source, block, "pooled");
    expect(pooled.values[3]).toBe(Math.fround(rowOf(SMALL, 0, 0, 0)[3]));
  });
  test("mean, max, min and one head", () => {
    const { first } = stackOf(source);
    const heads = [0, 1].map((head) => headRow(source, rows, 2, String(head)));
    expect(first).toEqual([0, 2, 4]);
    for (let key = 0; key < rows.n; key++) {
      const both = heads.map((row) => row[key]!);
      expect(headRow(source, rows, 2, "mean")[key]).toBe(Math.fround((both[0]! + both[1]!) / 2));
      expect(headRow(source, rows, 2, "max")[key]).toBe(Math.max(...both));
      expect(headRow(source, rows, 2, "min")[key]).toBe(Math.min(...both));
    }
  });
  test("rollout by whole matrices", () => {
    const n = 5;
    const matrices = [0, 1, 2].map((layer) => Array.from({ length: n }, (_, q) => {
      const row = Array.from({ length: n }, (_, k) => 1 + ((7 * q + 3 * k + 5 * layer) % 11));
      const total = row.reduce((a, b) => a + b, 0);
      return row.map((v) => v / total);
    }));
    const product = (a: number[][], b: number[][]) => a.map((row) => row.map((_, k) => row.reduce((sum, v, j) => sum + v * b[j]![k]!, 0)));
    const mixed = matrices.map((m) => m.map((row, q) => row.map((v, k) => 0.5 * v + (q === k ? 0.5 : 0))));
    const whole = product(product(mixed[2]!, mixed[1]!), mixed[0]!);
    const weights = new Float64Array(n);
    weights[3] = 1;
    const found = rolloutFrom({ layers: 3, n, row: (layer, q, out) => out.set(matrices[layer]![q]!) }, weights, 0.5, 0, [1, 2, 3, 4]);
    found.forEach((v, k) => expect(v).toBeCloseTo(whole[3]![k]!, 6));
  });
  test("a file makes rollouts of any query, and refuses what it does not carry", () => {
    const map = storedMap(source, block, { source: 0, method: "rollout", query: "1,2" });
    expect(map.values.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
    expect(storedMap(source, block, { source: 0, method: "integrated-gradients" }).signed).toBe(true);
    expect(() => storedMap(source, block, { source: 0, method: "integrated-gradients", target: "beagle" })).toThrow(/does not carry integrated-gradients for target beagle/);
    const poor = { ...source, stored: { ...facts!, rows: false, means: false } };
    expect(() => storedRows(poor, block, "1,2")).toThrow(/pooled query/);
  });
  test("links: the strongest, by looking at all of them", () => {
    const n = source.tokens.n;
    const all: [number, number, number][] = [];
    let mass = 0;
    for (let q = 0; q < n; q++) {
      const row = headRow(source, storedRows(source, block, q === 0 ? "cls" : `${Math.floor((q - 1) / 6)},${(q - 1) % 6}`), 1, "0");
      row.forEach((w, k) => { all.push([q, k, w]); mass += w; });
    }
    all.sort((a, b) => b[2] - a[2]);
    const found = storedLinks(source, block, { source: 0, layer: 1, head: "0", links: { by: "top", k: 12 } });
    expect([...found.weights]).toEqual(all.slice(0, 12).map((link) => link[2]));
    expect(found.leftOut).toBeCloseTo(1 - found.weights.reduce((a, b) => a + b, 0) / mass, 6);
    const above = storedLinks(source, block, { source: 0, layer: 1, head: "0", links: { by: "above", above: 0.1 } });
    expect(above.total).toBe(all.filter((link) => link[2] > 0.1).length);
  });
  test("ties at the last of the top links take no more than asked for", () => {
    const found = strongest(3, (_, out) => void out.fill(1 / 3), { by: "top", k: 4 });
    expect(found.weights.length).toBe(4);
    expect(found.leftOut).toBeCloseTo(5 / 9, 6);
  });
  test("rank is 1 for the largest, and ties share it", () => expect([3, 1, 3, 2].map((_, i) => rankOf(Float32Array.of(3, 1, 3, 2), i))).toEqual([1, 4, 1, 3]));
});

describe("cache and fetching", () => {
  test("the least recently used goes first", () => {
    const cache = new Cache<number>(10);
    cache.set("a", 1, 4);
    cache.set("b", 2, 4);
    cache.get("a");
    cache.set("c", 3, 4);
    expect(["a", "b", "c"].map((key) => cache.has(key))).toEqual([true, false, true]);
    expect(cache.bytes).toBe(8);
  });
  test("a row is asked for once, neighbours follow, and a new wish stops them", async () => {
    const asked: string[] = [];
    const stopped: string[] = [];
    let answer: (() => void)[] = [];
    const host = {
      rows: (_: number, query: string, signal: AbortSignal) => {
        asked.push(query);
        return new Promise((resolve, reject) => {
          signal.addEventListener("abort", () => { stopped.push(query); reject(new DOMException("", "AbortError")); });
          answer.push(() => resolve({ values: new Float32Array(4), n: 4, count: 1, heads: true, precision: "", notes: [] }));
        });
      },
    } as unknown as Host;
    const store = new RowStore(host, true);
    const first = [store.ask(0, "1,1", new AbortController().signal), store.ask(0, "1,1", new AbortController().signal)];
    answer.splice(0).forEach((go) => go());
    await Promise.all(first);
    expect(asked).toEqual(["1,1"]);
    expect(store.peek(0, "1,1")).toBeDefined();
    vi.useFakeTimers();
    store.prefetch(0, source, "1,1");
    expect(asked).toEqual(["1,1"]); // not while the pointer may still be moving
    vi.runAllTimers();
    vi.useRealTimers();
    expect(asked.slice(1)).toEqual(["1,2", "1,0", "2,1"]);
    void store.ask(0, "3,3", new AbortController().signal).catch(() => {});
    expect(stopped).toEqual(["1,2", "1,0", "2,1"]);
    await Promise.resolve();
    answer = [];
  });
});

describe("a detector", () => {
  const layer = (path: string) => ({ path, heads: 2, kind: "sdpa" });
  const found = [3, 0, 5].map((number, i) => ({ number, label: "cat", probability: 0.9 - 0.4 * i, box: [0, 0, 9, 9] as [number, number, number, number] }));
  const methods = source.methods.map((method) => ({ ...method, available: method.name === "attention" || method.name === "relevance" }));
  const detr = { ...source, pooled: null, tokens: { ...source.tokens, named: [] }, methods, labels: ["cat"], target_forms: ["box:NUMBER"], boxes: { found, why: "", layers: [layer("decoder.0"), layer("decoder.1")] }, stored: { ...facts!, rows: false, means: true, named: ["box 3"] } } as Source;
  const of = (one: Source) => ({ ...catalogue, sources: [one] }) as Catalogue;

  test("opens with its likeliest box, fixed, and nothing to complain of", () => {
    const { state, complaints } = fitted(DEFAULTS, of(detr));
    expect([state.query, state.fixed, complaints]).toEqual(["box 3", true, []]);
    const asked = { ...detr, stored: { ...detr.stored!, maps: [{ ...facts!.maps[0]!, mark: { kind: "box", number: 0 } }] } } as Source;
    expect(fitted(DEFAULTS, of(asked)).state.query).toBe("box 0");
    expect(queriesOf(detr)).toEqual(["box 3", "box 0", "box 5"]);
    expect(fitted(stateOf({ query: "box 4" }), of(detr)).complaints).toEqual(["query box 4"]);
    expect(fitted(stateOf({ query: "box 5", layer: 2 }), of(detr)).complaints).toEqual(["layer 2 of 2"]);
    expect(fitted(stateOf({ query: "0,1", layer: 2, target: "box:5" }), of(detr)).complaints).toEqual([]);
    expect(fitted(stateOf({ target: "pixel:5,5" }), of(detr)).complaints).toEqual(["target pixel:5,5"]);
  });
  test("a box asks in its own layers, a patch in the encoder's", () => {
    expect(seenFrom(detr, "box 0").layers).toHaveLength(2);
    expect(seenFrom(detr, "box 0")).toBe(seenFrom(detr, "box 5"));
    expect(seenFrom(detr, "1,2")).toBe(detr);
    expect(stackOf(seenFrom(detr, "box 0")).count).toBe(4);
  });
  test("a box that a file does not carry is refused with how many it does", () => {
    expect(refusedQuery(detr, "box 3")).toBe("");
    expect(refusedQuery(detr, "1,2")).toBe("");
    expect(() => storedRows(detr, block, "box 5")).toThrow(/rows of 1 of 3 boxes; this one is not among them/);
  });
  test("boxes that are tokens among the patches are asked as tokens", () => {
    const named = [{ id: "box 0", name: "box 0", kind: "query", token: 1 }];
    const yolos = { ...source, tokens: { ...source.tokens, named }, boxes: { found: found.slice(1, 2), why: "" } } as Source;
    expect(tokenOf(yolos, "box 0")).toBe(1);
    expect(queriesOf(yolos)).toEqual(["pooled", "box 0"]);
    const tokens = { ...source.tokens, named: [{ ...named[0]!, id: "cls" }] };
    expect(storedRows(yolos, block, "box 0").values).toEqual(storedRows({ ...source, tokens }, block, "cls").values);
  });
  test("a model without rows opens with what there is", () => {
    const rowless = { ...source, layers: [], pooled: null, methods: methods.map((method) => ({ ...method, available: method.name === "relevance" })), stored: { ...facts!, maps: [{ ...facts!.maps[0]!, method: "relevance" }] } } as Source;
    const { state, complaints } = fitted(DEFAULTS, of(rowless));
    expect([state.query, state.method, complaints]).toEqual(["pooled", "relevance", []]);
  });
});
