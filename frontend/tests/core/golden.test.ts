import { describe, expect, test } from "vitest";
import { unpack } from "../../src/core/block";
import { fromHalf, fromRoots } from "../../src/core/coding";
import { level, LEVELS, limitsOf, table } from "../../src/core/colour";
import { drawOnPhoto } from "../../src/core/drawing";
import { normalised } from "../../src/core/normalise";
import { percent, short } from "../../src/core/reading";
import { decodeState, differing, encodeState, stateOf } from "../../src/core/state";
import { paintLarge } from "../../src/draw/large";
import { palette } from "../../src/draw/paint";
import type { Source } from "../../src/core/catalogue";
import { drawnOn } from "../../src/core/marks";
import { bytes, f4, f8, golden } from "../golden";

describe("the same as Python", () => {
  test("colour tables, byte for byte", () => {
    expect(LEVELS).toBe(golden.colours.levels);
    for (const [name, expected] of Object.entries(golden.colours.tables)) expect([...table(name)], name).toEqual([...bytes(expected)]);
  });

  test("limits and colour steps", () => {
    for (const { values, signed, low, high, levels } of golden.colours.cases) {
      const limits = limitsOf([f4(values)], signed);
      expect(limits).toEqual({ low, high });
      expect([...f4(values)].map((v) => level(v, limits))).toEqual(levels);
    }
    const { values, levels } = golden.colours.ties;
    expect([...f4(values)].map((v) => level(v, { low: 0, high: 250 }))).toEqual(levels);
  });

  test("half floats, bit for bit", () => {
    const expected = f4(golden.codes.halves);
    const all = fromHalf(Uint16Array.from({ length: 65536 }, (_, i) => i));
    expected.forEach((value, i) => expect(Object.is(all[7 * i], value) || (Number.isNaN(all[7 * i]!) && Number.isNaN(value)), `half ${7 * i}`).toBe(true));
  });

  test("the 8-bit square-root code, bit for bit", () => {
    const code = bytes(golden.codes.code);
    const most = f4(golden.codes.max);
    const expected = f4(golden.codes.decoded);
    const n = code.length / most.length;
    const out = new Float32Array(n);
    for (let row = 0; row < most.length; row++) {
      fromRoots(code.subarray(row * n, (row + 1) * n), most[row]!, out);
      expect([...out]).toEqual([...expected.subarray(row * n, (row + 1) * n)]);
    }
  });

  test("normalisations", () => {
    for (const { norm, values, out } of golden.norms) {
      const found = normalised(f4(values), norm);
      f8(out).forEach((expected, i) => {
        if (Number.isNaN(expected)) expect(found[i]).toBeNaN();
        else expect(Math.abs(found[i]! - expected), `${norm} ${i}`).toBeLessThanOrEqual(1.2e-7 * Math.max(Math.abs(expected), 1e-3));
      });
    }
  });

  test.each(golden.drawings)("drawing on the photo: $name", ({ frame, smooth, grid, drawn }) => {
    const found = drawOnPhoto(f4(grid), frame, smooth);
    const expected = f4(drawn);
    expect(found.length).toBe(expected.length);
    expected.forEach((v, i) => {
      if (Number.isNaN(v)) expect(found[i], `pixel ${i}`).toBeNaN();
      else expect(Math.abs(found[i]! - v), `pixel ${i}`).toBeLessThanOrEqual(3e-7);
    });
  });

  test.each(golden.drawings)("painting, hatches and all: $name", ({ frame, smooth, grid, index }) => {
    const picture = paintLarge(f4(grid), frame, { low: 0, high: 0.9 }, "magma", smooth);
    const colours = palette("magma");
    const expected = bytes(index);
    let off = 0;
    expected.forEach((step, i) => {
      if (picture.pixels[i] === colours[step]) return;
      off++; // float32 rounding may carry a value over the border of two steps, never further
      const near = step < LEVELS && [step - 1, step + 1].some((other) => picture.pixels[i] === colours[other]);
      expect(near, `pixel ${i}: palette index ${step}`).toBe(true);
    });
    expect(off).toBeLessThanOrEqual(expected.length / 500);
  });

  test("numbers in words", () => {
    for (const [value, three, six] of golden.words.short) expect([short(value), short(value, 6)]).toEqual([three, six]);
    for (const [share, words] of golden.words.percent) expect(percent(share)).toBe(words);
  });

  test("what is drawn on the photo: boxes, a pixel, a region, a mask's border", () => {
    for (const { boxes, mark, from, lines, facts } of golden.marks) {
      const source = { frame: { photo_size: [60, 90] }, boxes: { found: boxes, why: "" } } as unknown as Source;
      const drawn = drawnOn(source, from, mark);
      expect(drawn.map((one) => one.lines)).toEqual(lines);
      expect(drawn.map((one) => [one.words, one.x, one.y, one.chosen])).toEqual(facts);
      expect(drawnOn(source, null, mark)).toEqual([]);
    }
  });

  test("states and addresses", () => {
    for (const { json, address } of golden.states) {
      const state = stateOf(json);
      expect(differing(state)).toEqual(json);
      expect(decodeState(address)).toEqual(state);
      expect(decodeState(encodeState(state))).toEqual(state);
    }
  });

  test("the packed block with every type", () => {
    const block = unpack(bytes(golden.block.packed));
    expect(block.meta).toEqual({ query: "3,4", note: "ß" });
    expect(Object.fromEntries(Object.entries(block.arrays).map(([name, array]) => [name, array.shape]))).toEqual(golden.block.shapes);
    expect([...block.arrays.a!.data]).toEqual([0, 1, 2, 3, 4]);
    expect([...block.arrays.c!.data]).toEqual([1, 0.5, -2, 65504]);
    expect([...block.arrays.f!.data]).toEqual([0, 0.5, 1]);
  });
});
