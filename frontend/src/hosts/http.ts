/* The page of a local server: everything by addresses relative to the page. */
import { framed, linksOf, mapOf, rowsOf } from "../core/answers";
import { auditOf } from "../core/audit";
import { unpack, type Block } from "../core/block";
import { checkCatalogue, type Catalogue } from "../core/catalogue";
import { liveClouds } from "../core/cloudanswers";
import type { Cloud } from "../core/clouds";
import { ViewError, oneLine } from "../core/errors";
import type { Host, HostFile, LinksRequest, MapRequest, Uploaded } from "../core/host";
import { addressState } from "./address";

export function httpHost(): Host {
  let precision = "";
  let clouds: Cloud[] = [];
  const address = addressState();

  const took = (given: unknown): Catalogue => {
    const catalogue = checkCatalogue(given);
    precision = catalogue.capabilities.precision;
    clouds = catalogue.clouds ?? [];
    return catalogue;
  };
  const first = async (op: string, args: object, signal: AbortSignal): Promise<Block> => {
    for await (const block of blocks(op, args, signal)) return block;
    throw new ViewError(`${op}: the server sent nothing`);
  };

  const added = async (response: Response): Promise<Uploaded> => {
    const { source, catalogue } = (await response.json()) as { source: number; catalogue: unknown };
    return { source, catalogue: took(catalogue) };
  };

  return {
    kind: "page",
    catalogue: async (signal) => took(await (await answer("catalogue", {}, { signal })).json()),
    rows: async (source, query, signal) => rowsOf(await first("rows", { source, query }, signal), precision),
    async *map(request: MapRequest, signal) {
      for await (const block of blocks("map", request, signal)) yield mapOf(block, precision);
    },
    links: async ({ source, layer, head, links }: LinksRequest, signal) =>
      linksOf(await first("links", { source, layer, head, ...(links.by === "top" ? { k: links.k } : { above: links.above }) }, signal)),
    audit: async (source, signal) => auditOf((await first("audit", { source }, signal)).meta),
    upload: async (file, model, signal) => {
      return added(await answer("upload", { name: file.name, model }, { method: "POST", body: file, signal }));
    },
    files: async (signal) => ((await (await answer("files", {}, { signal })).json()) as { files: HostFile[] }).files,
    open: async ({ root, path }, model, signal) => added(await answer("open", { root, path, model }, { method: "POST", signal })),
    clouds: liveClouds(blocks, (index) => clouds[index]!),
    openPoint: async (cloud, row, signal) => {
      const { source, catalogue } = (await first("open", { cloud, row }, signal)).meta as unknown as { source: number; catalogue: unknown };
      return { source, catalogue: took(catalogue) };
    },
    firstState: address.first,
    setState: address.set,
    onState: address.listen,
    onCatalogue: () => () => {},
    link: address.link,
    theme: () => () => {},
  };
}

async function answer(op: string, args: object, init: RequestInit): Promise<Response> {
  const wanted = new URLSearchParams(Object.entries(args).map(([key, value]) => [key, String(value)]));
  const query = wanted.size ? `?${wanted}` : "";
  let response: Response;
  try {
    response = await fetch(`api/${op}${query}`, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ViewError("the server does not answer; is `vitscope serve` still running?");
  }
  if (!response.ok) throw new ViewError(await refusal(response));
  return response;
}

async function refusal(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return oneLine((JSON.parse(text) as { error: string }).error);
  } catch {
    return `${response.status} ${response.statusText || oneLine(text).slice(0, 120)}`;
  }
}

async function* blocks(op: string, args: object, signal: AbortSignal): AsyncGenerator<Block> {
  const response = await answer(op, args, { signal });
  if (!response.body) throw new ViewError(`${op}: the server sent nothing`);
  for await (const bytes of framed(chunks(response.body))) yield unpack(bytes);
}

async function* chunks(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    void reader.cancel().catch(() => {}); // whoever left early: the server stops the work
  }
}
