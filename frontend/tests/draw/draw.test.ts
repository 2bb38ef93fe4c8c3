import { describe, expect, test } from "vitest";
// @ts-expect-error plain JavaScript
import { MODELS, rowsOf, sourceOf } from "../../dev/mock.mjs";
import type { Rows } from "../../src/core/answers";
import { stackOf, type Source } from "../../src/core/catalogue";
import { level, LEVELS, limitsOf, table } from "../../src/core/colour";
import { linesOf } from "../../src/draw/lines";
import { CLIPPED_STRIPE, GREY, GREY_STRIPE, paint, palette, picture, UNSEEN } from "../../src/draw/paint";
import { paintSmall, smallLayout, smallValues, spotAt, tileOf } from "../../src/draw/small";

const model = { ...MODELS.wide, layers: 3, heads: 4 };
const source = sourceOf("wide", model, "") as Source;
const rows: Rows = { values: rowsOf(model, "3,4") as Float32Array, n: source.tokens.n, count: 12, heads: true, precision: "", notes: [] };

describe("painting", () => {
  test("undefined, unseen and clipped cells are drawn differently", () => {
    const colours = palette("magma");
    const into = picture(6, 2);
    paint(Float32Array.of(0, 1, NaN, 2, 2, 0.5, 0, 0, 0, 0, 0, 0), { low: 0, high: 1 }, colours, into, { x: 0, y: 0, width: 6, height: 2 }, Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0));
    const index = [...into.pixels].map((pixel) => colours.indexOf(pixel));
    expect(index.slice(0, 6)).toEqual([0, LEVELS - 1, UNSEEN, LEVELS - 1, LEVELS - 1, 125]);
    expect([index[6], index[9]]).toEqual([GREY_STRIPE, GREY]);
    const clipped = picture(3, 1);
    paint(Float32Array.of(2, 2, 2), { low: 0, high: 1 }, colours, clipped, { x: 0, y: 0, width: 3, height: 1 });
    expect([...clipped.pixels].every((pixel) => pixel === colours[CLIPPED_STRIPE])).toBe(true);
  });

  test("the table's colours as bytes", () => {
    const bytes = new Uint8Array(palette("viridis").buffer);
    expect([...bytes.subarray(4 * 100, 4 * 100 + 3)]).toEqual([...table("viridis").subarray(300, 303)]);
    expect(bytes[4 * 100 + 3]).toBe(255);
  });
});

describe("small maps", () => {
  const at = smallLayout(source, true);
  const values = smallValues(source, rows, "raw", "layer");
  const drawn = paintSmall(source, values, at, "magma");
  const padded = new Set(source.padded.map(([r, c]) => r * source.frame.grid[1] + c));

  test("each cell has the colour of its own value", () => {
    const colours = palette("magma");
    for (let m = 0; m < 12; m++) {
      const tile = tileOf(at, Math.floor(m / 4), m % 4);
      for (let i = 0; i < tile.width * tile.height; i += 5) {
        const pixel = drawn.pixels[(tile.y + Math.floor(i / tile.width)) * drawn.width + tile.x + (i % tile.width)];
        const value = rows.values[m * rows.n + source.tokens.patches[i]!]!;
        if (padded.has(i)) expect([colours[GREY], colours[GREY_STRIPE]]).toContain(pixel);
        else expect(pixel).toBe(colours[level(value, values.limits[m]!)]);
      }
    }
  });

  test("gaps stay transparent, and a point finds its map and patch", () => {
    expect(drawn.pixels[at.tileWidth]).toBe(0);
    const stack = stackOf(source);
    for (const [layer, head, row, column] of [[0, 0, 0, 0], [2, 3, 11, 23], [1, 2, 5, 7]] as const) {
      const tile = tileOf(at, layer, head);
      expect(spotAt(at, stack, tile.y + row + 0.5, tile.x + column + 0.5)).toEqual({ layer, head, cell: [row, column] });
    }
    expect(spotAt(at, stack, 0.5, at.tileWidth + 0.5)).toBeNull();
    expect(spotAt(at, stack, -1, 3)).toBeNull();
  });

  test("ranges: one for all, one a layer, one a map; padding counts in none", () => {
    const spread = (range: "shared" | "layer" | "map") => new Set(smallValues(source, rows, "raw", range).limits.map((limits) => limits.high)).size;
    expect([spread("shared"), spread("layer"), spread("map")]).toEqual([1, 3, 12]);
    const loud = { ...rows, values: rows.values.slice() };
    loud.values[source.tokens.patches[[...padded][0]!]!] = 99;
    expect(smallValues(source, loud, "raw", "shared").limits[0]!.high).toBeLessThan(1);
    const beside = limitsOf([Float32Array.of(7)], false).high;
    expect(smallValues(source, rows, "raw", "shared", { layer: 0, grids: [new Float32Array(288).fill(7)] }).limits[0]!.high).toBe(beside);
  });
});

test("links to tokens without a place are counted, not drawn", () => {
  const { patches } = source.tokens;
  const lines = linesOf(source, { queries: Int32Array.of(patches[0]!, 0, patches[5]!), keys: Int32Array.of(patches[1]!, patches[2]!, patches[5]!), weights: Float32Array.of(0.5, 0.25, 0.125), leftOut: 0.1, total: 3 });
  expect(lines.between.length).toBe(2);
  expect([lines.elsewhere, lines.elsewhereMass, lines.mass]).toEqual([1, 0.25, 0.875]);
  expect(lines.between[0]!.strength).toBe(1);
});
