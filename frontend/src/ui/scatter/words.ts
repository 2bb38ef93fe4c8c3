/* A row of a cloud in words. */
import type { TableRow } from "../../core/clouds";
import { short } from "../../core/reading";

const PLACES = new Set(["x", "y", "z", "layer", "method"]);

/** A value as it is read. */
export const plain = (value: unknown): string => (typeof value === "number" && !Number.isInteger(value) ? short(value) : value === null || value === undefined || value === "" ? "–" : String(value));

/** Names and values of a row, without its place on the map; the path only where it says more than the id. */
export function facts(row: TableRow): [string, string][] {
  return Object.entries(row)
    .filter(([name, value]) => !PLACES.has(name) && name !== "row" && !(name === "path" && value === row.id))
    .map(([name, value]) => [name, plain(value)]);
}

/** What stands under a small picture. */
export const caption = (row: TableRow | undefined): string => {
  if (!row) return "";
  const [label, predicted] = [row.label, row.predicted].map((value) => (value === null || value === undefined ? "" : String(value)));
  if (label && predicted && label !== predicted) return `${label} → ${predicted}`;
  return label || predicted || String(row.id ?? "");
};
