/* What a host answers with, read from its blocks. */
import { arrayOf, type Block } from "./block";
import type { Mark } from "./catalogue";
import { ViewError } from "./errors";

/** Attention rows of one query: `[count, n]`, one for each head of each layer, or one for each layer where only head means are there. */
export interface Rows {
  values: Float32Array;
  n: number;
  count: number;
  /** False: one row a layer, the mean over its heads. */
  heads: boolean;
  precision: string;
  notes: string[];
}

export interface Progress {
  done: boolean;
  cells: number;
  draws: number;
  /** Estimated L1 error of the whole map; null where it cannot be known yet. */
  l1: number | null;
  share: number;
}

export interface MapAnswer {
  values: Float32Array;
  error: Float32Array | null;
  method: string;
  title: string;
  /** The block it was read at; null for a method over all of them, and for attention, whose layer the reader chose. */
  layer: number | null;
  unit: string;
  signed: boolean;
  notes: string[];
  target: string;
  against: string;
  /** Of a two-tower model: its own score of the text explained, and of the one that is set against. */
  scores: number[];
  /** Where on the photo the target is. */
  mark: Mark | null;
  hidden: Record<string, number>;
  uniform: number | null;
  progress: Progress | null;
  precision: string;
}

export interface LinksAnswer {
  queries: Int32Array;
  keys: Int32Array;
  weights: Float32Array;
  leftOut: number;
  total: number;
}

/** A block that says what went wrong after the first part was sent is that error. */
function whole(block: Block): Block {
  if (typeof block.meta.error === "string") throw new ViewError(block.meta.error);
  return block;
}

export function rowsOf(block: Block, precision: string): Rows {
  const values = arrayOf(whole(block), "rows", Float32Array);
  const [count, n] = block.arrays.rows!.shape;
  if (count === undefined || n === undefined) throw new ViewError("rows without two axes");
  return { values, n, count, heads: true, precision: String(block.meta.precision ?? precision), notes: (block.meta.notes ?? []) as string[] };
}

export function mapOf(block: Block, precision: string): MapAnswer {
  const meta = block.meta as Partial<Omit<MapAnswer, "values" | "error">>;
  return {
    values: arrayOf(whole(block), "values", Float32Array),
    error: "error" in block.arrays ? arrayOf(block, "error", Float32Array) : null,
    method: meta.method ?? "",
    title: meta.title ?? meta.method ?? "",
    layer: meta.layer ?? null,
    unit: meta.unit ?? "",
    signed: meta.signed ?? false,
    notes: meta.notes ?? [],
    target: meta.target ?? "",
    against: meta.against ?? "",
    scores: meta.scores ?? [],
    mark: meta.mark ?? null,
    hidden: meta.hidden ?? {},
    uniform: meta.uniform ?? null,
    progress: meta.progress ?? null,
    precision: meta.precision ?? precision,
  };
}

export function linksOf(block: Block): LinksAnswer {
  return {
    queries: arrayOf(whole(block), "queries", Int32Array),
    keys: arrayOf(block, "keys", Int32Array),
    weights: arrayOf(block, "weights", Float32Array),
    leftOut: Number(block.meta.left_out ?? 0),
    total: Number(block.meta.total ?? 0),
  };
}

const length = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

/** Blocks out of a stream of bytes, each preceded by its length as a little-endian u32. */
export async function* framed(chunks: AsyncIterable<Uint8Array<ArrayBufferLike>>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = []; // joined once there is enough of them, not one by one
  let have = 0;
  let need = 4;
  for await (const chunk of chunks) {
    parts.push(chunk);
    have += chunk.length;
    while (have >= need) {
      const held = joined(parts, have);
      parts = [held];
      need = 4 + length(held);
      if (have < need) break;
      yield held.slice(4, need);
      parts = [held.subarray(need)];
      have -= need;
      need = 4;
    }
  }
  if (have > 0) throw new ViewError(`an answer cut short: ${have} bytes of an unfinished block`);
}

function joined(parts: Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
