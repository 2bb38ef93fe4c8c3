/* A file that carries its data: nothing is fetched, what is not there is refused with the reason. */
import type { MapAnswer } from "../core/answers";
import { carriedAudit } from "../core/audit";
import { unpack, type Block } from "../core/block";
import { checkCatalogue, type Catalogue } from "../core/catalogue";
import { fromBase64 } from "../core/coding";
import { ViewError } from "../core/errors";
import type { Host } from "../core/host";
import { storedClouds } from "../core/storedclouds";
import { stateOf } from "../core/state";
import { storedLinks, storedMap, storedRows } from "../core/stored";
import { addressState } from "./address";

/** The host of one mount; `only` is the photo it stands beside, where the document has several views. */
export function fileHost(element: HTMLElement, only: number | null): Host {
  const pick = (selector: string): Element[] => {
    const inside = [...element.querySelectorAll(selector)];
    return inside.length ? inside : [...document.querySelectorAll(selector)];
  };
  const address = addressState((state) => only === null || state.source === only);
  const opened = new Map<number, Promise<Block>>();
  let known: Catalogue | null = null;

  const blockOf = (index: number): Promise<Block> => {
    let block = opened.get(index);
    if (!block) {
      block = inflated(pick("script[data-explore]")[index], index).then(unpack);
      opened.set(index, block);
    }
    return block;
  };
  const at = async (index: number) => {
    const source = known!.sources[index]!;
    if (!source.stored) throw new ViewError(`${source.photo}: ${known!.capabilities.why}`);
    return { source, block: await blockOf(source.stored.block) };
  };

  return {
    kind: "file",
    catalogue: async () => {
      const script = pick("script[data-catalogue]")[0];
      if (!script?.textContent) throw new ViewError("this file has no catalogue of what it carries");
      known = checkCatalogue(JSON.parse(script.textContent));
      for (const source of known.sources) source.picture = pictureOf(source.picture);
      return known;
    },
    rows: async (index, query) => {
      const { source, block } = await at(index);
      return storedRows(source, block, query);
    },
    async *map(request): AsyncGenerator<MapAnswer> {
      const { source, block } = await at(request.source);
      yield storedMap(source, block, request);
    },
    links: async (request) => {
      const { source, block } = await at(request.source);
      return storedLinks(source, block, request);
    },
    audit: async (index) => carriedAudit(known!.sources[index]!),
    upload: async () => Promise.reject(new ViewError(known?.capabilities.why ?? "this is a file")),
    files: async () => [],
    open: async () => Promise.reject(new ViewError("this host opens no files")),
    clouds: storedClouds(async (index) => {
      const cloud = known!.clouds![index]!;
      if (cloud.block === undefined) throw new ViewError(`${cloud.title}: ${known!.capabilities.why}`);
      return { cloud, block: await blockOf(cloud.block) };
    }),
    openPoint: async () => Promise.reject(new ViewError(known?.capabilities.why ?? "this is a file")),
    firstState: () => {
      const inAddress = address.first();
      if (inAddress) return inAddress;
      const embedded = pick("script[data-state]")[0]?.textContent;
      const state = embedded ? stateOf(JSON.parse(embedded)) : null;
      return state && (only === null || state.source === only) ? state : null;
    },
    setState: address.set,
    onState: address.listen,
    onCatalogue: () => () => {},
    link: address.link,
    theme: () => () => {},
  };
}

/** A photo that the document has already, by the id of the element that shows it. */
function pictureOf(picture: string): string {
  if (!picture.startsWith("#")) return picture;
  const shown = document.getElementById(picture.slice(1));
  const address = shown?.getAttribute("href") ?? shown?.getAttribute("src");
  if (!address) throw new ViewError(`the photo ${picture} is not in this file`);
  return address;
}

async function inflated(script: Element | undefined, index: number): Promise<Uint8Array> {
  if (!script?.textContent) throw new ViewError(`this file has no data block ${index}`);
  const packed = new Blob([fromBase64(script.textContent)]).stream();
  return new Uint8Array(await new Response(packed.pipeThrough(new DecompressionStream("deflate-raw"))).arrayBuffer());
}
