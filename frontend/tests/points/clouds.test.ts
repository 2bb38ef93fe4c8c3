/* State, catalogue and answers of clouds; what a file answers by itself. */
import { describe, expect, test } from "vitest";
import type { Block, Numbers } from "../../src/core/block";
import type { Catalogue } from "../../src/core/catalogue";
import { liveClouds } from "../../src/core/cloudanswers";
import { cameraOf, checkClouds, CORNER, differingPoints, fittedPoints, HOME, POINTS, pointsOf, type Cloud } from "../../src/core/clouds";
import { decodeState, encodeState, fitted, stateOf } from "../../src/core/state";
import { storedClouds } from "../../src/core/storedclouds";

const cloud: Cloud = {
  title: "photos",
  count: 3,
  maps: [{ layer: 1, method: "pca", dims: 2, title: "PCA", quality: [] }, { layer: 2, method: "pca", dims: 3, title: "PCA 3", quality: [] }],
  columns: [{ name: "label", kind: "category", categories: ["cat", "dog"] }, { name: "confidence", kind: "number", low: 0, high: 1 }],
  curve: [], accuracy: null, layers_note: "",
  pictures: { how: "carried", why: "only some", rows: [0, 2] },
  attention: { how: "carried", why: "only one", rows: [2] },
  open: false,
};
const block = (arrays: Record<string, [number[], Numbers]>, meta: Record<string, unknown> = {}): Block => ({ title: "", meta, arrays: Object.fromEntries(Object.entries(arrays).map(([name, [shape, data]]) => [name, { shape, data }])) });
const frame = { photo_size: [2, 2], input_size: [2, 2], scale: [1, 1], offset: [0, 0], seen: [0, 0, 2, 2], covered: [0, 0, 2, 2], grid: [1, 2], patch: [2, 1], stride: [2, 1], origin: [0, 0] };
const stop = new AbortController().signal;
const text = (words: string) => new TextEncoder().encode(words);

describe("state", () => {
  test("default is null, and only what differs is written", () => {
    expect(stateOf({}).points).toBeNull();
    expect(differingPoints(pointsOf(null))).toBeNull();
    expect(differingPoints({ ...POINTS, map: 1, lasso: [[0, 0], [1, 0], [0, 1]] })).toEqual({ map: 1, lasso: [[0, 0], [1, 0], [0, 1]] });
    const state = stateOf({ points: { map: 1, camera: { zoom: 3 }, hidden: [1, 65535] } });
    expect(decodeState(encodeState(state)).points).toEqual(state.points);
    expect(cameraOf(pointsOf(state.points), 2)).toEqual({ ...HOME, zoom: 3 });
    expect(cameraOf(POINTS, 3).turn).toEqual(CORNER);
  });
  test("a cloud opens on its own map, and the first is then a choice", () => {
    const clouds = [{ ...cloud, opens: 1 }, cloud];
    expect(pointsOf(null, clouds).map).toBe(1);
    expect(pointsOf({ cloud: 1 }, clouds).map).toBe(0);
    expect(differingPoints({ ...POINTS, map: 1 }, clouds)).toBeNull();
    expect(differingPoints({ ...POINTS, map: 0 }, clouds)).toEqual({ map: 0 });
    expect(fittedPoints({ map: 0 }, clouds).points).toEqual({ map: 0 });
    expect(fittedPoints({ map: 9 }, clouds)).toEqual({ points: null, complaints: ["map 9 of 2"] });
  });
  test.each([{ nonsense: 1 }, { map: -1 }, { camera: { zoom: 0 } }, { camera: { turn: [0, 0, 0, 0] } }, { lasso: [[0, 0], [1, 1]] }, { lasso: [[0, 0], [1, 1], [1, null]] }, { size: 0 }, { hidden: [70000] }, { focus: 1.5 }, { lasso_at: { map: 0 } }])("%j is refused", (points) => {
    expect(() => stateOf({ points })).toThrow(/points/);
  });
  test("what is not there is said, and left", () => {
    expect(fittedPoints({ cloud: 2 }, [cloud])).toEqual({ points: null, complaints: ["cloud 2 of 1"] });
    expect(fittedPoints({ map: 9, size: 2 }, [cloud])).toEqual({ points: { size: 2 }, complaints: ["map 9 of 2"] });
    expect(fittedPoints({ colour: "age", hidden: [0] }, [cloud]).points).toBeNull();
    expect(fittedPoints({ focus: 3 }, [cloud]).complaints).toEqual(["point 3 of 3"]);
    const catalogue = { format: 1, sources: [], models: [], clouds: [cloud], capabilities: { live: true, upload: false, why: "", precision: "" } } as Catalogue;
    expect(fitted(stateOf({ points: { map: 1 } }), catalogue)).toEqual({ state: stateOf({ points: { map: 1 } }), complaints: [] });
  });
  test("a map of four axes is an error, not a drawing", () => expect(() => checkClouds([{ ...cloud, maps: [{ ...cloud.maps[0]!, dims: 4 as 3 }] }])).toThrow("2 or 3"));
});

describe("a live host", () => {
  const answers: Record<string, Block[]> = {
    points: [block({ "map/0": [[3, 2], Uint16Array.of(0, 1, 2, 3, 4, 5)] }, { bounds: { low: [0, 0], high: [1, 1] } })],
    column: [block({ "column/label": [[3], Uint16Array.of(0, 1, 65535)] })],
    thumbs: [block({ thumbs: [[5], Uint8Array.of(1, 2, 3, 4, 5)], "thumbs/offsets": [[4], Int32Array.of(0, 2, 2, 5)] }, { failed: { 1: "gone" } })],
    attentions: [block({ attention: [[1, 2], Float32Array.of(0.25, 0.75)] }, { attention: { grid: [1, 2], frames: [frame] } }), block({}, { error: "too large", row: 1 }), block({ attention: [[1, 2], Float32Array.of(1, 0)] }, { row: 2, attention: { grid: [1, 2], frames: [frame] } })],
    nearest: [block({}, { error: "no vectors here" })],
  };
  const host = liveClouds(async function* (op) { yield* answers[op]!; }, () => cloud);
  test("positions, columns, pictures", async () => {
    expect(await host.points(0, 0, stop)).toEqual({ data: Uint16Array.of(0, 1, 2, 3, 4, 5), dims: 2, low: [0, 0], high: [1, 1] });
    expect([...(await host.column(0, "label", stop))]).toEqual([0, 1, 65535]);
    const { pictures, failed } = await host.thumbs(0, [0, 1, 2], 64, stop);
    expect([...pictures].map(([row, bytes]) => [row, [...bytes]])).toEqual([[0, [1, 2]], [2, [3, 4, 5]]]);
    expect(failed.get(1)).toBe("gone");
  });
  test("attention comes photo by photo, one that failed with its reason", async () => {
    const got: unknown[] = [];
    for await (const one of host.attentions(0, [0, 1, 2], stop)) got.push("error" in one ? [one.row, one.error] : [one.row, [...one.values]]);
    expect(got).toEqual([[0, [0.25, 0.75]], [1, "too large"], [2, [1, 0]]]);
  });
  test("too few points, and refusals, are errors", async () => {
    await expect(liveClouds(async function* () { yield answers.points![0]!; }, () => ({ ...cloud, count: 4 })).points(0, 0, stop)).rejects.toThrow("6 coordinates for 4 points");
    await expect(host.nearest(0, 1, 5, 2, stop)).rejects.toThrow("no vectors here");
  });
});

describe("a file", () => {
  const carried = block(
    {
      "map/1": [[3, 3], Uint16Array.from({ length: 9 }, (_, i) => i)],
      "column/label": [[3], Uint16Array.of(0, 65535, 1)],
      "column/confidence": [[3], Float32Array.of(0.5, NaN, 1)],
      "text/id": [[6], text("aébb")], "text/id/offsets": [[4], Int32Array.of(0, 1, 3, 5)],
      thumbs: [[4], Uint8Array.of(1, 2, 3, 4)], "thumbs/offsets": [[3], Int32Array.of(0, 1, 4)],
      attention: [[1, 2], Float32Array.of(0.1, 0.9)],
    },
    { bounds: [null, { low: [0, 0, 0], high: [1, 1, 1] }], attention: { grid: [1, 2], frames: [frame] } },
  );
  const host = storedClouds(async () => ({ cloud, block: carried }));
  test("answers from its block", async () => {
    expect((await host.points(0, 1, stop)).dims).toBe(3);
    expect(await host.table(0, [1, 2], 1, stop)).toEqual([
      { id: "é", label: null, confidence: null, x: 0.00005, y: 0.00006, z: 0.00008 },
      { id: "bb", label: "dog", confidence: 1, x: 0.00009, y: 0.00011, z: 0.00012 },
    ]);
    const { pictures, failed } = await host.thumbs(0, [2, 1], 64, stop);
    expect([...pictures].map(([row, bytes]) => [row, [...bytes]])).toEqual([[2, [2, 3, 4]]]);
    expect(failed.get(1)).toBe("only some");
    const got: unknown[] = [];
    for await (const one of host.attentions(0, [1, 2], stop)) got.push("error" in one ? one.error : one.row);
    expect(got).toEqual(["only one", 2]);
    await expect(host.nearest(0, 0, 3, 1, stop)).rejects.toThrow("vitscope serve");
  });
});
