/* Clouds without Python: from the block a file or a notebook carries. What it does not carry is refused with the reason. */
import { arrayOf, type Block } from "./block";
import { attentionsOf, columnOf, cutThumbs, positionsOf } from "./cloudanswers";
import { NO_CATEGORY, type Carried, type Cloud, type Clouds, type ColumnValues, type Positions, type TableRow } from "./clouds";
import { ViewError } from "./errors";

/** The same questions, answered from a stored block. */
export function storedClouds(at: (cloud: number) => Promise<{ cloud: Cloud; block: Block }>): Clouds {
  return {
    points: async (index, map) => {
      const { cloud, block } = await at(index);
      return positionsOf(block, cloud, map);
    },
    column: async (index, name) => {
      const { cloud, block } = await at(index);
      return columnOf(block, cloud, name);
    },
    table: async (index, rows, map) => {
      const { cloud, block } = await at(index);
      return storedTable(cloud, block, rows, positionsOf(block, cloud, map));
    },
    thumbs: async (index, rows) => {
      const { cloud, block } = await at(index);
      const carried = rowsOf(cloud.pictures, "pictures");
      const pictures = cutThumbs(arrayOf(block, "thumbs", Uint8Array), arrayOf(block, "thumbs/offsets", Int32Array), carried, rows);
      return { pictures, failed: new Map(rows.filter((row) => !pictures.has(row)).map((row) => [row, cloud.pictures.why])) };
    },
    async *attentions(index, rows) {
      const { cloud, block } = await at(index);
      const carried = new Map(attentionsOf(block, rowsOf(cloud.attention, "attention")).map((one) => [one.row, one]));
      for (const row of rows) yield carried.get(row) ?? { row, error: cloud.attention.why };
    },
    nearest: async () => Promise.reject(new ViewError("this file does not carry the vectors: nearest neighbours need `vitscope serve`")),
  };
}

/** Steps of a place along an axis. */
const STEPS = 65535;

function rowsOf(carried: Carried, what: string): number[] {
  if (carried.how !== "carried" || !carried.rows) throw new ViewError(carried.why || `this file carries no ${what}`);
  return carried.rows;
}

const decoder = new TextDecoder();

function textOf(block: Block, name: string, row: number): string {
  const offsets = arrayOf(block, `text/${name}/offsets`, Int32Array);
  return decoder.decode(arrayOf(block, `text/${name}`, Uint8Array).subarray(offsets[row], offsets[row + 1]));
}

function storedTable(cloud: Cloud, block: Block, rows: number[], at: Positions): TableRow[] {
  const texts = ["id", "path"].filter((name) => `text/${name}` in block.arrays);
  const columns = cloud.columns.map((column) => ({ column, values: columnOf(block, cloud, column.name) }));
  return rows.map((row) => ({
    ...Object.fromEntries(texts.map((name) => [name, textOf(block, name, row)])),
    ...Object.fromEntries(columns.map(({ column, values }) => [column.name, plain(column.categories, values, row)])),
    ...placeOf(at, row),
  }));
}

/** Where a row lies, with no more digits than the step it was rounded to has. */
function placeOf({ data, dims, low, high }: Positions, row: number): TableRow {
  return Object.fromEntries([..."xyz"].slice(0, dims).map((name, i) => {
    const step = (high[i]! - low[i]!) / STEPS;
    return [name, Number((low[i]! + data[row * dims + i]! * step).toFixed(Math.min(Math.max(Math.ceil(-Math.log10(step)), 0), 20)))];
  }));
}

function plain(categories: string[] | undefined, values: ColumnValues, row: number): string | number | null {
  const value = values[row]!;
  if (values instanceof Float32Array) return Number.isNaN(value) ? null : value;
  return value === NO_CATEGORY ? null : (categories?.[value] ?? null);
}
