/* Perceptual colours for raw values, the same tables, limits and steps as `views/colour.py`. */
import { ViewError } from "./errors";

/** Colour steps: odd, so that zero has a step of its own in the middle of a signed table. */
export const LEVELS = 251;
export const SIGNED = "tideline";

/* 33 anchors of the published 256-entry tables (Smith and van der Walt, CC0), linear in between. */
const ANCHORS: Record<string, string> = {
  magma:
    "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c23b75cf4070db476a" +
    "e55064ee5b5ef4695cf9785dfb8761fd9668fea571feb47bfec287fed194fde0a1fceeb0fcfdbf",
  viridis:
    "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f978b1f9f8821a685" +
    "27ad8131b57b3dbc744cc26c5cc8636ece5881d34d95d840aadc32c0df25d5e21aeae51afde725",
};

/** Round half to even, as numpy does. */
export function rint(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

const tables = new Map<string, Uint8Array>();

/** uint8 `[LEVELS, 3]`: sRGB colours from the low end to the high end. */
export function table(name: string): Uint8Array {
  const known = tables.get(name);
  if (known) return known;
  const made = name === SIGNED ? tideline() : name === "grey" ? grey() : anchored(name);
  tables.set(name, made);
  return made;
}

function anchored(name: string): Uint8Array {
  const hex = ANCHORS[name];
  if (!hex) throw new ViewError(`unknown colours ${name}; expected magma, viridis, grey or ${SIGNED}`);
  const anchors = Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  const last = anchors.length / 3 - 1;
  const out = new Uint8Array(LEVELS * 3);
  for (let i = 0; i < LEVELS; i++) {
    const at = (i * last) / (LEVELS - 1);
    const low = Math.min(Math.floor(at), last - 1);
    for (let c = 0; c < 3; c++) {
      const from = anchors[3 * low + c]!;
      out[3 * i + c] = rint(from + (at - low) * (anchors[3 * low + 3 + c]! - from));
    }
  }
  return out;
}

function grey(): Uint8Array {
  return Uint8Array.from({ length: LEVELS * 3 }, (_, i) => rint((255 * Math.floor(i / 3)) / (LEVELS - 1)));
}

/** Blue, near-black, orange; lightness depends on |v| alone (OKLCh). */
function tideline(): Uint8Array {
  const out = new Uint8Array(LEVELS * 3);
  for (let i = 0; i < LEVELS; i++) {
    const signed = -1 + (2 * i) / (LEVELS - 1);
    const strength = Math.abs(signed);
    const lightness = 0.14 + 0.74 * strength;
    const chroma = 0.19 * Math.sqrt(strength) * (1 - 0.55 * strength);
    const hue = ((signed < 0 ? 250 : 65) * Math.PI) / 180;
    out.set(srgb(lightness, chroma * Math.cos(hue), chroma * Math.sin(hue)), 3 * i);
  }
  return out;
}

/** OKLab to 8-bit sRGB (Björn Ottosson, 2020). */
function srgb(lightness: number, a: number, b: number): number[] {
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short,
  ];
  return linear.map((value) => {
    const held = Math.min(Math.max(value, 0), 1);
    return rint(255 * (held <= 0.0031308 ? 12.92 * held : 1.055 * held ** (1 / 2.4) - 0.055));
  });
}

/** Raw values at the ends of a colour bar: `0..high` for unsigned values, `−high..high` for signed ones. */
export interface Limits {
  low: number;
  high: number;
}

export const isSigned = (limits: Limits): boolean => limits.low < 0;

/** One scale for all arrays: from 0 to the largest value; symmetrical about 0 where values are signed or any is negative. */
export function limitsOf(arrays: Float32Array[], signed: boolean, padded?: Uint8Array): Limits {
  let highest = 0;
  let negative = false;
  for (const values of arrays)
    for (let i = 0; i < values.length; i++) {
      const v = values[i]!;
      if (padded?.[i] || !Number.isFinite(v)) continue;
      if (v < 0) {
        negative = true;
        if (-v > highest) highest = -v;
      } else if (v > highest) highest = v;
    }
  if (highest === 0) highest = 1;
  return { low: signed || negative ? -highest : 0, high: highest };
}

/** Both ranges as one. */
export function widest(a: Limits, b: Limits): Limits {
  const high = Math.max(a.high, b.high);
  return { low: a.low < 0 || b.low < 0 ? -high : 0, high };
}

/** The colour step of one value, held inside 0..LEVELS−1; NaN gives 0. */
export function level(value: number, limits: Limits): number {
  const known = Number.isNaN(value) ? 0 : value;
  const position = (Math.min(Math.max(known, limits.low), limits.high) - limits.low) / (limits.high - limits.low);
  return rint(Math.min(Math.max(position, 0), 1) * (LEVELS - 1));
}
