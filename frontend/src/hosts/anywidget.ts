/* A notebook, through anywidget: answers come as custom messages with one buffer each; without a kernel, from what the notebook saved. */
import type { AnyModel } from "@anywidget/types";
import { linksOf, mapOf, rowsOf, type MapAnswer } from "../core/answers";
import { auditOf, carriedAudit } from "../core/audit";
import { unpack, type Block } from "../core/block";
import { checkCatalogue, type Catalogue } from "../core/catalogue";
import { fromBase64 } from "../core/coding";
import { ViewError } from "../core/errors";
import type { Host, Uploaded } from "../core/host";
import { liveClouds } from "../core/cloudanswers";
import type { Cloud, Clouds } from "../core/clouds";
import { differing, stateOf } from "../core/state";
import { storedClouds } from "../core/storedclouds";
import { storedLinks, storedMap, storedRows } from "../core/stored";

interface Traits {
  state: object;
  catalogue: object;
  blocks: DataView[];
}

interface Message {
  id: string;
  error?: string;
  part?: number;
  last?: boolean;
  base64?: string;
}

const PATIENCE = 4000;
const GONE = "the notebook's kernel does not answer: only what the notebook saved can be shown; run the cell again";

let counter = 0;

export function notebookHost(model: AnyModel<Traits>): Host {
  const line = new Line(model);
  let known: Catalogue | null = null;
  let alive: boolean | null = null;
  let opened = new Map<number, Block>();

  const one = async (op: string, args: object, signal: AbortSignal, bytes?: ArrayBuffer): Promise<Block> => {
    for await (const block of line.ask(op, args, signal, bytes)) return block;
    throw new ViewError(`${op}: the kernel sent nothing`);
  };
  const blockAt = (index: number | undefined): Block => {
    const bytes = index === undefined ? undefined : model.get("blocks")[index];
    if (index === undefined || !bytes) throw new ViewError(GONE);
    let block = opened.get(index);
    if (!block) opened.set(index, (block = unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))));
    return block;
  };
  const saved = (index: number) => {
    const source = known!.sources[index]!;
    return { source, block: blockAt(source.stored?.block) };
  };
  const live = (): boolean => alive !== false;
  const cloudAt = (index: number) => known!.clouds![index]!;
  const asked = liveClouds((op, args, signal) => line.ask(op, args, signal), cloudAt);
  const kept = storedClouds(async (index) => ({ cloud: cloudAt(index), block: blockAt(cloudAt(index).block) }));
  /* asked anew each time: the kernel may have gone since */
  const clouds = Object.fromEntries(Object.keys(asked).map((name) => [name, (...args: unknown[]) => ((live() ? asked : kept)[name as keyof Clouds] as (...all: unknown[]) => unknown)(...args)])) as unknown as Clouds;

  const host: Host = {
    kind: "notebook",
    catalogue: async (signal) => {
      const trait = model.get("catalogue");
      try {
        known = checkCatalogue((await within(PATIENCE, one("catalogue", {}, signal))).meta);
        alive = true;
      } catch (error) {
        if (!(error instanceof Silence)) throw error;
        alive = false;
        if (Object.keys(trait ?? {}).length === 0) throw new ViewError(GONE);
        known = checkCatalogue(structuredClone(trait));
        known.capabilities = { ...known.capabilities, live: false, upload: false, why: GONE };
        known.models = [];
        known.clouds = known.clouds?.map((cloud) => goneLive(cloud));
      }
      return known;
    },
    rows: async (source, query, signal) => {
      if (live()) return rowsOf(await one("rows", { source, query }, signal), known!.capabilities.precision);
      const from = saved(source);
      return storedRows(from.source, from.block, query);
    },
    async *map(request, signal): AsyncGenerator<MapAnswer> {
      if (live()) {
        for await (const block of line.ask("map", request, signal)) yield mapOf(block, known!.capabilities.precision);
        return;
      }
      const from = saved(request.source);
      yield storedMap(from.source, from.block, request);
    },
    links: async (request, signal) => {
      const { source, layer, head, links } = request;
      if (live()) return linksOf(await one("links", { source, layer, head, ...(links.by === "top" ? { k: links.k } : { above: links.above }) }, signal));
      const from = saved(source);
      return storedLinks(from.source, from.block, request);
    },
    audit: async (source, signal) => {
      if (!live()) return carriedAudit({ ...known!.sources[source]!, audit: { how: "none", why: GONE } });
      return auditOf((await one("audit", { source }, signal)).meta);
    },
    upload: async (file, name, signal): Promise<Uploaded> => {
      const { meta } = await one("upload", { name: file.name, model: name }, signal, await file.arrayBuffer());
      const { source, catalogue } = meta as unknown as { source: number; catalogue: unknown };
      return { source, catalogue: (known = checkCatalogue(catalogue)) };
    },
    files: async () => [],
    open: async () => Promise.reject(new ViewError("this host opens no files")),
    clouds,
    openPoint: async (cloud, row, signal): Promise<Uploaded> => {
      const { source, catalogue } = (await one("open", { cloud, row }, signal)).meta as unknown as { source: number; catalogue: unknown };
      return { source, catalogue: (known = checkCatalogue(catalogue)) };
    },
    firstState: () => {
      const state = model.get("state");
      return state && Object.keys(state).length ? stateOf(state) : null;
    },
    setState: (state) => {
      const next = differing(state);
      if (JSON.stringify(next) === JSON.stringify(model.get("state"))) return;
      model.set("state", next);
      model.save_changes();
    },
    onState: (heard, failed) => {
      const changed = () => {
        try {
          heard(stateOf(model.get("state")));
        } catch (error) {
          failed(error);
        }
      };
      model.on("change:state", changed);
      return () => model.off("change:state", changed);
    },
    onCatalogue: (heard) => {
      const changed = () => {
        opened = new Map();
        heard((known = checkCatalogue(model.get("catalogue"))));
      };
      model.on("change:catalogue", changed);
      return () => model.off("change:catalogue", changed);
    },
    link: () => null,
    theme: notebookTheme,
  };
  return host;
}

/** What needed the kernel is off, with the reason. */
function goneLive(cloud: Cloud): Cloud {
  const off = (one: Cloud["pictures"]) => (one.how === "live" ? { how: "none" as const, why: GONE } : one);
  return { ...cloud, open: false, pictures: off(cloud.pictures), attention: off(cloud.attention), nearest: { how: "none", why: GONE } };
}

class Silence extends Error {}

function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  return Promise.race([work, new Promise<never>((_, reject) => setTimeout(() => reject(new Silence()), milliseconds))]);
}

/** Requests and their answers over the widget's one line. */
class Line {
  private readonly waiting = new Map<string, (message: Message, buffer: DataView | undefined) => void>();
  /** Some notebooks lose binary buffers: from then on base64 is asked for. */
  private plain = false;

  constructor(private readonly model: AnyModel<Traits>) {
    model.on("msg:custom", (message: Message, buffers: DataView[]) => this.waiting.get(message.id)?.(message, buffers?.[0]));
  }

  async *ask(op: string, args: object, signal: AbortSignal, bytes?: ArrayBuffer): AsyncGenerator<Block> {
    const id = `v${++counter}-${Math.random().toString(36).slice(2, 8)}`;
    const arrived: (Block | Error | null)[] = [];
    let wake: () => void = () => {};
    const push = (item: Block | Error | null) => {
      arrived.push(item);
      wake();
    };
    const send = (plain: boolean) => {
      const given = plain && bytes ? { ...args, bytes: toBase64(bytes) } : args;
      this.model.send({ id, op, args: given, ...(plain ? { plain: true } : {}) }, undefined, bytes && !plain ? [bytes] : undefined);
    };
    this.waiting.set(id, (message, buffer) => {
      if (message.error !== undefined) return push(new ViewError(message.error));
      if (!buffer && message.base64 === undefined) {
        if (this.plain) return push(new ViewError("the notebook lost the answer's data"));
        this.plain = true;
        return send(true);
      }
      push(unpack(buffer ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : fromBase64(message.base64!)));
      if (message.last !== false) push(null);
    });
    const aborted = () => push(new DOMException("nobody waits any more", "AbortError"));
    signal.addEventListener("abort", aborted, { once: true });
    let ended = false;
    try {
      send(this.plain);
      for (;;) {
        while (arrived.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const item = arrived.shift()!;
        ended = item === null || (item instanceof Error && item.name !== "AbortError");
        if (item === null) return;
        if (item instanceof Error) throw item;
        yield item;
      }
    } finally {
      this.waiting.delete(id);
      signal.removeEventListener("abort", aborted);
      if (!ended && arrived[0] !== null) this.model.send({ id, op: "stop" });
    }
  }
}

function toBase64(bytes: ArrayBuffer): string {
  let text = "";
  const all = new Uint8Array(bytes);
  for (let i = 0; i < all.length; i += 32768) text += String.fromCharCode(...all.subarray(i, i + 32768));
  return btoa(text);
}

/** What JupyterLab, VS Code, Colab and marimo say about their theme, and when they change it. */
function notebookTheme(heard: (dark: boolean | null) => void): () => void {
  const look = () => heard(darkNow());
  const watcher = new MutationObserver(look);
  const attributes = ["class", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"];
  for (const element of [document.documentElement, document.body]) watcher.observe(element, { attributes: true, attributeFilter: attributes });
  look();
  return () => watcher.disconnect();
}

function darkNow(): boolean | null {
  const [root, body] = [document.documentElement, document.body];
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false";
  const code = body.dataset.vscodeThemeKind;
  if (code !== undefined) return !code.includes("light");
  const named = root.getAttribute("theme") ?? root.dataset.theme ?? body.dataset.theme;
  if (named) return named.includes("dark");
  if (root.classList.contains("dark") || body.classList.contains("dark")) return true;
  return root.classList.contains("light") || body.classList.contains("light") ? false : null;
}
