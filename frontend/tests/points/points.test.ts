/* The loops over all points, each against one that is slow and obvious. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { NO_CATEGORY, type Camera, type CloudColumn, type Outline, type Quaternion } from "../../src/core/clouds";
import { level, table } from "../../src/core/colour";
import { roundSteps, ticksOf } from "../../src/points/axes";
import { categoryShades, coloursOf, COLOURS, FADED, HIDDEN, inksOf, NONE, NOT_DRAWN, onGround, pixelsOf, rgb, shadesOf } from "../../src/points/colours";
import { outlineOf, within } from "../../src/points/lasso";
import { nearest } from "../../src/points/nearest";
import { inOrder, orderOf, rowsMarked } from "../../src/points/order";
import { panned, pixelOf, planeAt, planeOf, rotation, turned, viewOf, zoomed } from "../../src/points/project";
import { csvOf, tally } from "../../src/points/select";
import { fogOf, over, paintPoints, stampOf, target } from "../../src/points/splat";
import { draws, positions } from "./made";

const TURN: Quaternion = [0.21, -0.4, 0.13, 0.86];
const CAMERA: Camera = { x: 0.45, y: 0.57, zoom: 1.4, turn: TURN };
const [WIDTH, HEIGHT] = [96, 70];

/** u, v and depth of a point in float64, from the quaternion by q·p·q*. */
function projected(data: Uint16Array, dims: number, i: number, turn: Quaternion): [number, number, number] {
  const [a, b, c] = [0, 1, 2].map((axis) => (axis < dims ? data[i * dims + axis]! / 65535 : 0.5)) as [number, number, number];
  if (dims === 2) return [a, b, 0];
  const n = Math.hypot(...turn);
  const [x, y, z, w] = turn.map((part) => part / n) as Quaternion;
  const p = [a - 0.5, b - 0.5, c - 0.5] as const;
  const cross = (s: readonly number[], t: readonly number[]) => [s[1]! * t[2]! - s[2]! * t[1]!, s[2]! * t[0]! - s[0]! * t[2]!, s[0]! * t[1]! - s[1]! * t[0]!];
  const once = cross([x, y, z], p).map((part, k) => part + w * p[k]!);
  const twice = cross([x, y, z], once);
  const out = p.map((part, k) => part + 2 * twice[k]!);
  return [0.5 + out[0]!, 0.5 + out[1]!, out[2]!];
}

const pixel = (camera: Camera, u: number, v: number, dims: number): [number, number] => {
  const scale = (dims === 2 ? 0.92 : 0.62) * Math.min(WIDTH, HEIGHT) * camera.zoom;
  return [WIDTH / 2 + (u - camera.x) * scale, HEIGHT / 2 - (v - camera.y) * scale];
};

describe("projection", () => {
  test.each([2, 3] as const)("pixels of %i axes are those found the long way", (dims) => {
    const data = positions(500, dims, 3);
    const view = viewOf(planeOf(dims, TURN), CAMERA, WIDTH, HEIGHT);
    for (let i = 0; i < 500; i++) {
      const [u, v, z] = projected(data, dims, i, TURN);
      const at = (form: number[]) => form[0]! * data[i * dims]! + form[1]! * data[i * dims + 1]! + (dims === 3 ? form[2]! * data[i * 3 + 2]! : 0) + form[3]!;
      const [x, y] = pixel(CAMERA, u, v, dims);
      expect(at(view.x)).toBeCloseTo(x, 9);
      expect(at(view.y)).toBeCloseTo(y, 9);
      expect(at(view.plane.depth)).toBeCloseTo(z, 12);
    }
  });
  test("a pixel and its place in the plane are each other's inverse; zooming keeps what is under the pointer; panning follows it", () => {
    const view = viewOf(planeOf(2, TURN), CAMERA, WIDTH, HEIGHT);
    const [u, v] = planeAt(CAMERA, view, 31, 12);
    expect(pixelOf(CAMERA, view, u, v).map((x) => Math.round(x * 1e9) / 1e9)).toEqual([31, 12]);
    const near = zoomed(CAMERA, view, 3, 31, 12);
    const [x, y] = pixelOf(near, viewOf(planeOf(2, TURN), near, WIDTH, HEIGHT), u, v);
    expect([x, y].map(Math.round)).toEqual([31, 12]);
    const moved = panned(CAMERA, view, 7, -4);
    expect(pixelOf(moved, viewOf(planeOf(2, TURN), moved, WIDTH, HEIGHT), u, v).map(Math.round)).toEqual([38, 8]);
  });
  test("turning stays a rotation, and what is in front follows the pointer", () => {
    let camera: Camera = { ...CAMERA, turn: [0, 0, 0, 1] };
    const front = (of: Camera) => rotation(of.turn).map((row) => row[2]);
    camera = turned(camera, 0.05, 0);
    expect(front(camera)[0]).toBeGreaterThan(0.1); // to the right
    camera = turned({ ...CAMERA, turn: [0, 0, 0, 1] }, 0, 0.05);
    expect(front(camera)[1]).toBeLessThan(-0.1); // downwards
    for (let i = 0; i < 50; i++) camera = turned(camera, 0.03, -0.02);
    const [a, b] = rotation(camera.turn) as unknown as [number[], number[]];
    expect(a.reduce((sum, part, k) => sum + part * b[k]!, 0)).toBeCloseTo(0, 12);
    expect(Math.hypot(...camera.turn)).toBeCloseTo(1, 12);
  });
});

describe("order", () => {
  test("a permutation, the same each time, whose beginning is an even draw", () => {
    const order = orderOf(5000);
    expect([...order].sort((a, b) => a - b)).toEqual([...Array(5000).keys()]);
    expect([...orderOf(5000)]).toEqual([...order]);
    const early = [...order.subarray(0, 1000)].filter((row) => row < 2500).length;
    expect(Math.abs(early - 500)).toBeLessThan(60);
    const data = positions(5000, 3, 1);
    const sorted = inOrder(data, 3, order);
    expect([...sorted.subarray(30, 33)]).toEqual([...data.subarray(order[10]! * 3, order[10]! * 3 + 3)]);
  });
});

/** A picture painted point by point and pixel by pixel. */
function slowPicture(data: Uint16Array, ink: Uint16Array, dims: 2 | 3, size: number, palette: Uint32Array, ground: number, selection: boolean): Uint32Array {
  const pixels = new Uint32Array(WIDTH * HEIGHT).fill(ground);
  const { cover } = stampOf(size);
  const passes: ((shade: number) => boolean)[] = selection ? [(shade) => shade >= FADED, (shade) => shade < FADED] : [() => true];
  for (const pass of passes) {
    const depth = new Float32Array(WIDTH * HEIGHT).fill(-Infinity);
    for (let i = 0; i < ink.length; i++) {
      if (ink[i] === NOT_DRAWN || !pass(ink[i]!)) continue;
      const [u, v, z] = projected(data, dims, i, TURN);
      const [x, y] = pixel(CAMERA, u, v, dims);
      const colour = palette[(dims === 3 ? fogOf(z) : 0) * 512 + ink[i]!]!;
      for (let py = 0; py < HEIGHT; py++)
        for (let px = 0; px < WIDTH; px++) {
          const [dx, dy] = [px - Math.floor(x - (size - 1) / 2), py - Math.floor(y - (size - 1) / 2)];
          if (dx < 0 || dy < 0 || dx >= size || dy >= size) continue;
          const a = cover[dy * size + dx]!;
          const at = py * WIDTH + px;
          if (a === 0 || (dims === 3 && z < depth[at]!)) continue;
          pixels[at] = a === 255 ? colour : over(colour, pixels[at]!, a);
          if (dims === 3 && a === 255) depth[at] = z;
        }
    }
  }
  return pixels;
}

describe("splat", () => {
  const palette = pixelsOf(coloursOf("category", [255, 255, 255]), [255, 255, 255], rgb(NONE));
  test.each([[2, 1], [2, 2], [2, 3], [2, 7], [3, 1], [3, 2], [3, 5]] as const)("%i axes, %i pixels: the picture of a slow painter", (dims, size) => {
    const data = positions(400, dims, size + 10);
    const draw = draws(size);
    const ink = Uint16Array.from({ length: 400 }, () => (draw() < 0.1 ? NOT_DRAWN : Math.floor(draw() * 21) + (draw() < 0.5 ? FADED : 0)));
    for (const selection of [false, true]) {
      const into = target(WIDTH, HEIGHT);
      paintPoints(into, { data, ink }, viewOf(planeOf(dims, TURN), CAMERA, WIDTH, HEIGHT), stampOf(size), palette, 0xff112233, selection, 400);
      const slow = slowPicture(data, ink, dims, size, palette, 0xff112233, selection);
      expect(into.pixels.filter((one, i) => one !== slow[i]).length).toBe(0);
      expect(new Set(into.pixels).size).toBeGreaterThan(10);
    }
  });
  test("a disc is symmetrical, whole in its middle, and as large as it says", () => {
    for (const size of [3, 4, 7, 12]) {
      const { cover } = stampOf(size);
      expect([...cover].reverse()).toEqual([...cover]);
      expect(cover[Math.floor(size / 2) * size + Math.floor(size / 2)]).toBe(255);
      expect(cover.reduce((sum, a) => sum + a, 0) / 255 / ((Math.PI * size * size) / 4)).toBeCloseTo(1, 1);
    }
  });
  test("nothing covers, all covers, half mixes", () => expect([over(0xff0000ff, 0xffffffff, 0), over(0xff0000ff, 0xffffffff, 255), over(0xff000000, 0xffffffff, 51)]).toEqual([0xffffffff, 0xff0000ff, 0xffcccccc]));
});

/** Even-odd over every edge. */
function slowWithin(outline: Outline, u: number, v: number): boolean {
  let inside = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [[ui, vi], [uj, vj]] = [outline[i]!, outline[j]!];
    if (vi > v !== vj > v && u < ((uj - ui) * (v - vi)) / (vj - vi) + ui) inside = !inside;
  }
  return inside;
}

describe("lasso", () => {
  const circle = Array.from({ length: 200 }, (_, i): [number, number] => [0.5 + 0.31 * Math.cos(i / 31.8), 0.48 + 0.42 * Math.sin(i / 31.8)]);
  const draw = draws(9);
  const tangle = Array.from({ length: 37 }, (): [number, number] => [draw() * 1.2 - 0.1, draw() * 1.2 - 0.1]);
  const star = Array.from({ length: 5 }, (_, i): [number, number] => [0.5 + 0.4 * Math.sin((i * 4 * Math.PI) / 5), 0.5 + 0.4 * Math.cos((i * 4 * Math.PI) / 5)]);
  const box: Outline = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]];
  const thin: Outline = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.9001], [0.1, 0.1001]];
  test.each([["circle", circle], ["tangle", tangle], ["star", star], ["box", box], ["thin", thin]] as const)("%s: the same points as every edge tested", (_, outline) => {
    for (const dims of [2, 3] as const) {
      const data = positions(20_000, dims, 4, 1025); // many points share a coordinate, some lie on edges
      const shade = new Uint8Array(20_000);
      shade.fill(HIDDEN, 100, 200);
      const mask = within(outline as Outline, data, planeOf(dims, TURN), shade);
      let found = 0;
      let differ = 0;
      for (let i = 0; i < shade.length; i++) {
        const form = planeOf(dims, TURN);
        const value = (of: number[]) => of[0]! * data[i * dims]! + of[1]! * data[i * dims + 1]! + of[2]! * (dims === 3 ? data[i * 3 + 2]! : 0) + of[3]!;
        const inside = shade[i] !== HIDDEN && slowWithin(outline as Outline, value(form.u), value(form.v));
        if (inside !== (mask[i] === 1)) differ++;
        found += mask[i]!;
      }
      expect(differ).toBe(0);
      if (outline !== thin) expect(found).toBeGreaterThan(1000);
    }
  });
  test("rows come back ascending, whatever the drawing order", () => {
    const order = orderOf(1000);
    const mask = Uint8Array.from(order, (row) => (row % 7 === 0 ? 1 : 0));
    expect([...rowsMarked(mask, order)]).toEqual([...Array(1000).keys()].filter((row) => row % 7 === 0));
  });
  test("an outline is kept short, and its corners are those that are tested after a reload", () => {
    const path = Array.from({ length: 5000 }, (_, i): [number, number] => [Math.cos(i / 700) / 3, Math.sin(i / 700) / 3]);
    const outline = outlineOf(path, 0.0001);
    expect(outline.length).toBeLessThanOrEqual(240);
    expect(outline.length).toBeGreaterThan(60);
    expect(JSON.parse(JSON.stringify(outline))).toEqual(outline);
  });
});

describe("nearest", () => {
  test.each([2, 3] as const)("%i axes: as near as brute force in float64, the last drawn or the nearest to the eye of several", (dims) => {
    const data = positions(3000, dims, 8, 60);
    const draw = draws(2);
    const shade = Uint8Array.from({ length: 3000 }, () => (draw() < 0.2 ? HIDDEN : 1));
    const camera = dims === 2 ? CAMERA : { ...CAMERA, turn: [0, 0, 0, 1] as Quaternion };
    const view = viewOf(planeOf(dims, camera.turn), camera, WIDTH, HEIGHT);
    let hits = 0;
    for (let lap = 0; lap < 200; lap++) {
      const [x, y] = [draw() * WIDTH, draw() * HEIGHT];
      const found = nearest(data, shade, view, x, y, 3);
      const far = Array.from(shade, (one, i) => {
        const [u, v] = projected(data, dims, i, camera.turn);
        const [px, py] = pixel(camera, u, v, dims);
        return one === HIDDEN ? Infinity : Math.hypot(px - x, py - y);
      });
      const least = Math.min(...far);
      if (found < 0) {
        expect(least).toBeGreaterThan(3 - 1e-9);
        continue;
      }
      hits++;
      expect(far[found]).toBeCloseTo(least, 9);
      const same = far.flatMap((one, i) => (one < least + 1e-9 ? [i] : []));
      if (dims === 2) expect(found).toBe(same[same.length - 1]);
      else expect(projected(data, 3, found, camera.turn)[2]).toBe(Math.max(...same.map((i) => projected(data, 3, i, camera.turn)[2])));
    }
    expect(hits).toBeGreaterThan(50);
  });
});

describe("colours", () => {
  const scatter = readFileSync(new URL("../../../src/vitscope/figures/scatter.py", import.meta.url), "utf-8");
  test("the figure's own table", () => {
    const hex = scatter.slice(scatter.indexOf("COLOURS = ("), scatter.indexOf(")\nSIDE")).match(/#[0-9a-f]{6}/g);
    expect(COLOURS).toEqual(hex);
    expect(scatter).toContain(`"${NONE}"`);
  });
  test("the commonest twenty by name, the rest grey", () => {
    const names = Array.from({ length: 25 }, (_, i) => `class ${(i * 7) % 25}`);
    const shades = categoryShades(names);
    const own = names.slice(0, 20).sort();
    names.forEach((name, code) => expect(shades[code]).toBe(code < 20 ? own.indexOf(name) : 20));
  });
  test("each point's shade and every count, the slow way", () => {
    const order = orderOf(3000);
    const draw = draws(5);
    const codes = Uint16Array.from({ length: 3000 }, () => (draw() < 0.05 ? NO_CATEGORY : Math.floor(draw() * 25)));
    const column: CloudColumn = { name: "label", kind: "category", categories: Array.from({ length: 25 }, (_, i) => `c${i}`) };
    const { shade, counts, shown } = shadesOf(column, codes, [3, NO_CATEGORY], order);
    const own = categoryShades(column.categories!);
    for (let i = 0; i < 3000; i++) {
      const code = codes[order[i]!]!;
      expect(shade[i]).toBe(code === 3 || code === NO_CATEGORY ? HIDDEN : own[code]);
    }
    for (const code of [0, 3, 24, NO_CATEGORY]) expect(counts.get(code)).toBe(codes.filter((one) => one === code).length);
    expect(shown).toBe(codes.filter((code) => code !== 3 && code !== NO_CATEGORY).length);
  });
  test("numbers are steps of viridis, none is grey, a hidden none is not drawn", () => {
    const order = orderOf(4);
    const values = Float32Array.of(0, 0.5, 1, NaN);
    const column: CloudColumn = { name: "n", kind: "number", low: 0, high: 1 };
    const { shade, counts } = shadesOf(column, values, [], order);
    order.forEach((row, i) => expect(shade[i]).toBe(row === 3 ? 251 : level(values[row]!, { low: 0, high: 1 })));
    expect(counts.get(NO_CATEGORY)).toBe(1);
    expect(coloursOf("number", [255, 255, 255])[250]).toEqual([...table("viridis").subarray(750, 753)]);
    expect([...shadesOf(column, values, [NO_CATEGORY], order).shade]).toContain(HIDDEN);
  });
  test("others fade where some are selected, hidden ones stay away", () => {
    expect([...inksOf(Uint8Array.of(4, 4, HIDDEN), Uint8Array.of(1, 0, 0))]).toEqual([4, 4 + FADED, NOT_DRAWN]);
    expect([...inksOf(Uint8Array.of(4, HIDDEN), null)]).toEqual([4, NOT_DRAWN]);
  });
  test("on a dark ground every colour stands out three to one; on white they are the figure's", () => {
    for (const hex of COLOURS) expect(onGround(rgb(hex), [255, 255, 255])).toEqual(rgb(hex));
    expect(onGround(rgb("#393b79"), [23, 25, 28])).not.toEqual(rgb("#393b79"));
    const light = (c: number) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]: number[]) => 0.2126 * light(r!) + 0.7152 * light(g!) + 0.0722 * light(b!);
    for (const hex of COLOURS) expect((luminance(onGround(rgb(hex), [23, 25, 28])) + 0.05) / (luminance([23, 25, 28]) + 0.05)).toBeGreaterThan(2.99);
  });
});

describe("selection", () => {
  test("counts by category, most first, with the share of all", () => {
    const counts = tally(Uint32Array.of(0, 2, 3), Uint16Array.of(1, 0, 1, NO_CATEGORY, 1), { name: "l", kind: "category", categories: ["a", "b"] });
    expect(counts.map(({ name, count, share }) => [name, count, share])).toEqual([["b", 2, 2 / 3], ["none", 1, 1]]);
  });
  test("CSV keeps commas, quotes, lines and nothing", () =>
    expect(csvOf([4, 7], [{ id: 'a "b"', label: "x,y" }, { id: "two\nlines", label: null }])).toBe('row,id,label\r\n4,"a ""b""","x,y"\r\n7,"two\nlines",\r\n'));
});

describe("axes", () => {
  test("round numbers, in the map's own units, where they belong", () => {
    expect(roundSteps(-0.34, 1.02, 5)).toEqual([0, 0.5, 1]);
    expect(roundSteps(0.1, 0.32, 4)).toEqual([0.1, 0.2, 0.3]);
    const camera: Camera = { x: 0.5, y: 0.5, zoom: 1, turn: [0, 0, 0, 1] };
    const view = viewOf(planeOf(2, camera.turn), camera, 400, 400);
    const { x, y } = ticksOf({ data: new Uint16Array(0), dims: 2, low: [0, 0], high: [10, 10] }, camera, view);
    expect(x.find((tick) => tick.words === "5")!.at).toBeCloseTo(200, 9);
    expect(y.find((tick) => tick.words === "10")!.at).toBeCloseTo(200 - 184, 9);
  });
});
