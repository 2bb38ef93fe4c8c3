/* What colour a point has: the twenty colours of `figures/scatter.py` for categories, viridis for numbers, one grey for the rest. */
import { level, LEVELS, table, type Limits } from "../core/colour";
import { NO_CATEGORY, type CloudColumn, type ColumnValues } from "../core/clouds";

/** Categories with a colour of their own; further ones share the grey. */
export const COLOURS = [
  ..."#1f77b4 #ff7f0e #2ca02c #d62728 #9467bd #8c564b #e377c2 #17becf #bcbd22 #393b79".split(" "),
  ..."#637939 #8c6d31 #843c39 #7b4173 #3182bd #e6550d #31a354 #756bb1 #fdae6b #636363".split(" "),
];
export const NONE = "#b8bcc2";

/** Shades: an index into the palette of a column; HIDDEN is not drawn, not pointed at, not selected. */
export const HIDDEN = 255;
/** Added to a shade where others are selected. */
export const FADED = 256;
export const NOT_DRAWN = 65535;
const GREY_SHADE = COLOURS.length;
const NO_NUMBER = LEVELS;

export type Colour = [number, number, number];

export const rgb = (hex: string): Colour => [parseInt(hex.slice(1, 3), 16), parseInt(hex.slice(3, 5), 16), parseInt(hex.slice(5, 7), 16)];
/** A computed style, "rgb(…)", as bytes; white where there is none. */
export function rgbOf(style: string): Colour {
  const parts = style.match(/[\d.]+/g)?.slice(0, 3).map(Number);
  return parts?.length === 3 ? (parts as Colour) : [255, 255, 255];
}
export const css = ([r, g, b]: Colour): string => `rgb(${r} ${g} ${b})`;

/** By code: the shade of each category. The commonest twenty have colours, given in the order of their names, as the figure does. */
export function categoryShades(categories: string[]): Uint8Array {
  const shades = new Uint8Array(categories.length).fill(GREY_SHADE);
  const named = [...categories.keys()].slice(0, COLOURS.length).sort((a, b) => inPythonsOrder(categories[a]!, categories[b]!));
  named.forEach((code, i) => (shades[code] = i));
  return shades;
}

/** By code points, not by UTF-16 units: the order Python sorts by. */
function inPythonsOrder(a: string, b: string): number {
  const [left, right] = [Array.from(a, (c) => c.codePointAt(0)!), Array.from(b, (c) => c.codePointAt(0)!)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
  return left.length - right.length;
}

const linear = (part: number): number => (part <= 10.31475 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]: Colour): number => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
export const mixed = (a: Colour, b: Colour, share: number): Colour => a.map((part, i) => Math.round(part + (b[i]! - part) * share)) as Colour;

/** A colour as it is drawn on a ground: the table's own, on a dark ground lifted towards white until it stands out 3 to 1. */
export function onGround(colour: Colour, ground: Colour): Colour {
  const dark = luminance(ground);
  if (dark > 0.2) return colour;
  let out = colour;
  for (let share = 0; share <= 1 && (luminance(out) + 0.05) / (dark + 0.05) < 3; share += 0.05) out = mixed(colour, [255, 255, 255], share);
  return out;
}

/** The colours of a column on a ground: categories' twenty and the grey, or the steps of viridis and the grey. */
export function coloursOf(kind: "category" | "number" | "none", ground: Colour): Colour[] {
  const grey = onGround(rgb(NONE), ground);
  if (kind === "none") return [onGround(rgb(COLOURS[0]!), ground)];
  if (kind === "category") return [...COLOURS.map((hex) => onGround(rgb(hex), ground)), grey];
  const steps = table("viridis");
  return [...Array.from({ length: LEVELS }, (_, i): Colour => [steps[3 * i]!, steps[3 * i + 1]!, steps[3 * i + 2]!]), grey];
}

export interface Shades {
  /** In drawing order. */
  shade: Uint8Array;
  /** How many points have each code; numbers: how many have none, under NO_CATEGORY. */
  counts: Map<number, number>;
  shown: number;
}

/** The shade of each point, in drawing order, and how many points each code has. */
export function shadesOf(column: CloudColumn | null, values: ColumnValues | null, hidden: number[], order: Uint32Array): Shades {
  const off = new Uint8Array(NO_CATEGORY + 1);
  for (const code of hidden) off[code] = 1;
  if (!column || !values) return { shade: new Uint8Array(order.length), counts: new Map(), shown: order.length };
  return values instanceof Float32Array ? ofNumbers(column, values, off, order) : ofCategories(column, values, off, order);
}

function ofCategories(column: CloudColumn, codes: Uint16Array, off: Uint8Array, order: Uint32Array): Shades {
  const byCode = new Uint8Array(NO_CATEGORY + 1).fill(GREY_SHADE);
  byCode.set(categoryShades(column.categories ?? []));
  for (let code = 0; code <= NO_CATEGORY; code++) if (off[code]) byCode[code] = HIDDEN;
  const tally = new Uint32Array(NO_CATEGORY + 1);
  const shade = new Uint8Array(order.length);
  let shown = 0;
  for (let i = 0; i < order.length; i++) {
    const code = codes[order[i]!]!;
    tally[code]!++;
    const one = byCode[code]!;
    shade[i] = one;
    if (one !== HIDDEN) shown++;
  }
  const counts = new Map<number, number>();
  tally.forEach((count, code) => count && counts.set(code, count));
  return { shade, counts, shown };
}

function ofNumbers(column: CloudColumn, values: Float32Array, off: Uint8Array, order: Uint32Array): Shades {
  const limits: Limits = { low: column.low ?? 0, high: column.high ?? 1 };
  if (!(limits.high > limits.low)) limits.high = limits.low + 1;
  const none = off[NO_CATEGORY] ? HIDDEN : NO_NUMBER;
  const shade = new Uint8Array(order.length);
  let without = 0;
  for (let i = 0; i < order.length; i++) {
    const value = values[order[i]!]!;
    if (Number.isNaN(value)) {
      shade[i] = none;
      without++;
    } else shade[i] = level(value, limits);
  }
  return { shade, counts: new Map(without ? [[NO_CATEGORY, without]] : []), shown: none === HIDDEN ? order.length - without : order.length };
}

/** What is painted for each point: its shade, faded where others are selected, NOT_DRAWN where hidden. */
export function inksOf(shade: Uint8Array, selected: Uint8Array | null): Uint16Array {
  const ink = new Uint16Array(shade.length);
  for (let i = 0; i < shade.length; i++) ink[i] = shade[i] === HIDDEN ? NOT_DRAWN : shade[i]! + (selected && !selected[i] ? FADED : 0);
  return ink;
}

export const FOGS = 8;
const FADE = 0.72;
const THICKEST = 0.6;

/** Pixels (bytes R, G, B, A) by fog × 512 + ink: fog 0 is nearest and clear, further ones sink into the ground. */
export function pixelsOf(colours: Colour[], ground: Colour, grey: Colour): Uint32Array {
  const bytes = new Uint8Array(FOGS * 512 * 4);
  const put = (index: number, [r, g, b]: Colour) => bytes.set([r, g, b, 255], 4 * index);
  for (let fog = 0; fog < FOGS; fog++)
    colours.forEach((colour, i) => {
      const share = (THICKEST * fog) / (FOGS - 1);
      put(fog * 512 + i, mixed(colour, ground, share));
      put(fog * 512 + FADED + i, mixed(mixed(mixed(colour, grey, 0.75), ground, FADE), ground, share));
    });
  return new Uint32Array(bytes.buffer);
}
