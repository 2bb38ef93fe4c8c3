/* What is in a selection: counts by category, and its table as CSV. */
import { NO_CATEGORY, type CloudColumn, type TableRow } from "../core/clouds";

export interface Tally {
  code: number;
  name: string;
  count: number;
  /** Of all points with this category, the share that is selected. */
  share: number;
}

/** How many of the rows have each category, most first. */
export function tally(rows: Uint32Array, codes: Uint16Array, column: CloudColumn): Tally[] {
  const all = new Uint32Array(NO_CATEGORY + 1);
  const counts = new Uint32Array(NO_CATEGORY + 1);
  for (let i = 0; i < codes.length; i++) all[codes[i]!]!++;
  for (let i = 0; i < rows.length; i++) counts[codes[rows[i]!]!]!++;
  const out: Tally[] = [];
  counts.forEach((count, code) => count && out.push({ code, name: code === NO_CATEGORY ? "none" : (column.categories?.[code] ?? String(code)), count, share: count / all[code]! }));
  return out.sort((a, b) => b.count - a.count || a.code - b.code);
}

const cell = (value: unknown): string => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Rows as CSV (RFC 4180), the row's number first. */
export function csvOf(rows: ArrayLike<number>, table: TableRow[]): string {
  const names = [...new Set(table.flatMap((row) => Object.keys(row)))].filter((name) => name !== "row");
  const lines = table.map((row, i) => [rows[i], ...names.map((name) => row[name])].map(cell).join(","));
  return `${[["row", ...names].map(cell).join(","), ...lines].join("\r\n")}\r\n`;
}
