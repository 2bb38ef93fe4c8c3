/* Who may import whom. Data flows one way: core ← draw ← ui, core ← hosts, and only the entries know all. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));
const MAY: Record<string, string[]> = { core: ["core"], draw: ["core", "draw"], points: ["core", "points"], ui: ["core", "draw", "points", "ui"], hosts: ["core", "hosts"], "": ["core", "draw", "ui", "hosts"] };
const PACKAGES: Record<string, string[]> = { core: [], draw: [], points: [], ui: ["svelte"], hosts: [], "": ["svelte"] };
const DOM = /\b(document|window|HTMLElement|HTMLCanvasElement|CanvasRenderingContext2D|ImageData|localStorage|location|navigator)\b/;

export interface Import {
  from: string;
  to: string;
}

const layer = (file: string) => (file.includes("/") ? file.split("/")[0]! : "");

/** What is wrong with one import; "" where nothing is. */
export function broken({ from, to }: Import): string {
  const own = layer(from);
  if (!to.startsWith(".")) {
    if (to === "@anywidget/types") return from === "hosts/anywidget.ts" ? "" : `${from} knows anywidget`;
    return PACKAGES[own]!.includes(to.split("/")[0]!) ? "" : `${from} imports the package ${to}`;
  }
  const target = layer(relative(SRC, resolve(SRC, dirname(from), to)));
  return MAY[own]!.includes(target) ? "" : `${from} imports ${target || "an entry"}`;
}

const files = (readdirSync(SRC, { recursive: true }) as string[]).filter((name) => /\.(ts|svelte)$/.test(name) && !name.endsWith(".d.ts"));
const text = (name: string) => readFileSync(join(SRC, name), "utf-8");
const imports = files.flatMap((from) => [...text(from).matchAll(/(?:\bfrom\s*|^\s*import\s*|\bimport\(\s*)["']([^"'\n]+)["']/gm)].map((match): Import => ({ from, to: match[1]! })));

describe("layers", () => {
  test("every import goes down", () => {
    expect(imports.length).toBeGreaterThan(80);
    expect(imports.map(broken).filter(Boolean)).toEqual([]);
  });
  test("an import that goes up is found", () => {
    expect(broken({ from: "core/state.ts", to: "../draw/paint" })).not.toBe("");
    expect(broken({ from: "draw/large.ts", to: "../hosts/http" })).not.toBe("");
    expect(broken({ from: "points/splat.ts", to: "../draw/paint" })).not.toBe("");
    expect(broken({ from: "ui/App.svelte", to: "../hosts/http" })).not.toBe("");
    expect(broken({ from: "hosts/http.ts", to: "../ui/App.svelte" })).not.toBe("");
    expect(broken({ from: "hosts/file.ts", to: "@anywidget/types" })).not.toBe("");
    expect(broken({ from: "core/state.ts", to: "svelte" })).not.toBe("");
  });
  test("core knows no document", () => {
    const code = (name: string) => text(name).replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, "");
    expect(files.filter((name) => layer(name) === "core" && DOM.test(code(name)))).toEqual([]);
  });
  test("nothing reaches further than relative addresses, and no text becomes code", () => {
    const found = files.filter((name) => /https?:\/\/(?!www\.w3\.org)|\beval\(|new Function\(|\{@html|innerHTML/.test(text(name)));
    expect(found).toEqual([]);
  });
});
