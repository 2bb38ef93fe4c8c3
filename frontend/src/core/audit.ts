/* What a model was fed, as Python's sheet has it: sections of findings, sentences, pictures, tables and curves. */
import { ViewError } from "./errors";

export interface Finding {
  severity: "fault" | "warning" | "note";
  word: string;
  kind: string;
  what: string;
  evidence: string;
  fix: string;
}

export interface Picture {
  title: string;
  caption: string;
  picture: string;
  width: number;
  height: number;
  lines: string;
  wide: boolean;
  sharp: boolean;
  bar: { low: number; high: number; unit: string } | null;
}

export interface Table {
  title: string;
  head: string[];
  bars: number | null;
  rows: { cells: string[]; bar: number | null }[];
}

export interface Curve {
  title: string;
  caption: string;
  x: string;
  y: string;
  width: number;
  height: number;
  zero: number;
  low: string;
  high: string;
  last: number;
  lines: { name: string; points: string; dash: string; number: number }[];
}

export type Run =
  | { kind: "finding"; cards: Finding[] }
  | { kind: "text"; cards: { text: string; strong: boolean }[] }
  | { kind: "picture"; cards: Picture[] }
  | { kind: "table"; cards: Table[] }
  | { kind: "curve"; cards: Curve[] };

export interface Audit {
  verdict: string;
  worst: "" | "fault" | "warning" | "note";
  sections: { title: string; hint: string; runs: Run[] }[];
}

/** Where an audit comes from: asked of the host, carried by the file, or not to be had, with the reason. */
export interface AuditSource {
  how: "live" | "carried" | "none";
  why: string;
  panel?: Audit;
}

/** The audit in an answer's facts, or an error that says what is wrong with it. */
export function auditOf(meta: Record<string, unknown>): Audit {
  const found = meta.audit as Audit | undefined;
  if (!found || !Array.isArray(found.sections)) throw new ViewError("an answer without an audit");
  return found;
}

/** The audit a source carries, where it carries one. */
export function carriedAudit(of: { photo: string; audit?: AuditSource }): Audit {
  if (of.audit?.panel) return of.audit.panel;
  throw new ViewError(`${of.photo}: ${of.audit?.why || "no audit of it is carried here"}`);
}
