/* What a live host answers about clouds, read from its blocks; the page and the notebook ask the same questions in the same words. */
import { arrayOf, type Block } from "./block";
import type { Frame } from "./catalogue";
import type { Clouds, Cloud, ColumnValues, Neighbour, PhotoAttention, Positions, TableRow, Thumbs } from "./clouds";
import { ViewError } from "./errors";

export type Ask = (op: string, args: object, signal: AbortSignal) => AsyncIterable<Block>;

/** A block that says what went wrong is that error. */
function whole(block: Block): Block {
  if (typeof block.meta.error === "string") throw new ViewError(block.meta.error);
  return block;
}

/** Positions of a map; as many as the cloud says, or an error. */
export function positionsOf(block: Block, cloud: Cloud, map: number): Positions {
  const { dims, title } = cloud.maps[map]!;
  const data = arrayOf(whole(block), `map/${map}`, Uint16Array);
  if (data.length !== cloud.count * dims) throw new ViewError(`${title}: ${data.length} coordinates for ${cloud.count} points of ${dims} axes`);
  const { low, high } = boundsOf(block.meta.bounds, map) ?? {};
  if (low?.length !== dims || high?.length !== dims) throw new ViewError(`${title}: bounds of ${low?.length ?? 0} axes, not ${dims}`);
  return { data, dims, low, high };
}

interface Bounds {
  low: number[];
  high: number[];
}

/** Of the one map that was asked for, or of each that a file carries. */
function boundsOf(given: unknown, map: number): Bounds | undefined {
  const bounds = (given ?? {}) as Partial<Bounds> & Record<number, Bounds | undefined>;
  return bounds.low && bounds.high ? { low: bounds.low, high: bounds.high } : bounds[map];
}

/** Codes or numbers of a column, one a point. */
export function columnOf(block: Block, cloud: Cloud, name: string): ColumnValues {
  const kind = cloud.columns.find((column) => column.name === name)?.kind;
  const values = kind === "number" ? arrayOf(whole(block), `column/${name}`, Float32Array) : arrayOf(whole(block), `column/${name}`, Uint16Array);
  if (values.length !== cloud.count) throw new ViewError(`column ${name}: ${values.length} values for ${cloud.count} points`);
  return values;
}

/** JPEGs joined, with the place where each begins. */
export function cutThumbs(bytes: Uint8Array, offsets: Int32Array, rows: number[], wanted = rows): Map<number, Uint8Array<ArrayBuffer>> {
  if (offsets.length !== rows.length + 1) throw new ViewError(`${offsets.length - 1} pictures for ${rows.length} rows`);
  const asked = new Set(wanted);
  const out = new Map<number, Uint8Array<ArrayBuffer>>();
  rows.forEach((row, i) => {
    const [from, to] = [offsets[i]!, offsets[i + 1]!];
    if (to > from && asked.has(row)) out.set(row, bytes.slice(from, to));
  });
  return out;
}

interface AttentionFacts {
  grid: [number, number];
  frames: Frame[];
  method?: string;
  query?: string;
  layer?: number | null;
  unit?: string;
}

/** What an attention overlay is, in words. */
export const attentionWords = (facts: AttentionFacts): string =>
  [facts.method ?? "attention", facts.query && `of ${facts.query}`, facts.layer != null && `layer ${facts.layer}`, facts.unit].filter(Boolean).join(", ");

/** The attention of the rows of one block, in the order of `rows`. */
export function attentionsOf(block: Block, rows: number[]): PhotoAttention[] {
  const values = arrayOf(block, "attention", Float32Array);
  const facts = block.meta.attention as AttentionFacts;
  const cells = facts.grid[0] * facts.grid[1];
  if (values.length !== rows.length * cells || facts.frames.length !== rows.length) throw new ViewError(`attention of ${values.length / cells} photos and ${facts.frames.length} frames for ${rows.length} rows`);
  return rows.map((row, i) => ({ row, values: values.subarray(i * cells, (i + 1) * cells), frame: facts.frames[i]!, words: attentionWords(facts) }));
}

/** The questions about clouds, asked through a host's own way of asking. */
export function liveClouds(ask: Ask, cloudAt: (index: number) => Cloud): Clouds {
  const one = async (op: string, args: object, signal: AbortSignal): Promise<Block> => {
    for await (const block of ask(op, args, signal)) return whole(block);
    throw new ViewError(`${op}: no answer came`);
  };
  return {
    points: async (cloud, map, signal) => positionsOf(await one("points", { cloud, map }, signal), cloudAt(cloud), map),
    column: async (cloud, name, signal) => columnOf(await one("column", { cloud, name }, signal), cloudAt(cloud), name),
    table: async (cloud, rows, map, signal) => tableOf(await one("table", { cloud, rows: rows.join(), map }, signal), rows),
    thumbs: async (cloud, rows, size, signal) => thumbsOf(await one("thumbs", { cloud, rows: rows.join(), size }, signal), rows),
    async *attentions(cloud, rows, signal) {
      let at = 0;
      for await (const block of ask("attentions", { cloud, rows: rows.join() }, signal)) {
        const named = (block.meta.rows as number[] | undefined) ?? (typeof block.meta.row === "number" ? [block.meta.row] : undefined);
        if (typeof block.meta.error === "string" && named) {
          for (const row of named) yield { row, error: block.meta.error };
          at += named.length;
          continue;
        }
        const length = whole(block).arrays.attention?.shape[0] ?? 0;
        yield* attentionsOf(block, named ?? rows.slice(at, at + length));
        at += length;
      }
    },
    nearest: async (cloud, row, k, layer, signal) => ((await one("nearest", { cloud, row, k, layer }, signal)).meta.rows ?? []) as Neighbour[],
  };
}

function tableOf(block: Block, rows: number[]): TableRow[] {
  const found = (block.meta.rows ?? []) as TableRow[];
  if (found.length !== rows.length) throw new ViewError(`a table of ${found.length} rows for ${rows.length} asked`);
  return found;
}

function thumbsOf(block: Block, rows: number[]): Thumbs {
  const pictures = cutThumbs(arrayOf(block, "thumbs", Uint8Array), arrayOf(block, "thumbs/offsets", Int32Array), rows);
  const failed = Object.entries((block.meta.failed ?? {}) as Record<string, string>).map(([row, why]) => [Number(row), why] as const);
  return { pictures, failed: new Map(failed) };
}
