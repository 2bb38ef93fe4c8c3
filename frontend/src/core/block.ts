/* The packed block, as `views/view.py` writes it: 8 bytes VITSVIEW, u32 version, u32 header length, JSON, aligned little-endian buffers. */
import { fromHalf } from "./coding";
import { ViewError } from "./errors";

export type Numbers = Uint8Array | Uint16Array | Int32Array | Float32Array | Float64Array;

export interface Packed {
  shape: number[];
  data: Numbers;
}

export interface Block {
  title: string;
  meta: Record<string, unknown>;
  arrays: Record<string, Packed>;
}

interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  offset: number;
  nbytes: number;
}

const MAGIC = "VITSVIEW";
const PRELUDE = 16;
const SIZES: Record<string, number> = { u1: 1, u2: 2, i4: 4, f2: 2, f4: 4, f8: 8 };

/** The block in some bytes; an unknown version or type is an error, never a guess. */
export function unpack(given: Uint8Array<ArrayBufferLike>): Block {
  const bytes = given.byteOffset % 8 === 0 ? given : given.slice();
  const magic = String.fromCharCode(...bytes.subarray(0, 8));
  if (bytes.length < PRELUDE || magic !== MAGIC) throw new ViewError(`${bytes.length} bytes that are no packed view: they do not start with ${MAGIC}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(8, true);
  if (version !== 1) throw new ViewError(`a packed view of version ${version}; this page reads version 1`);
  const start = PRELUDE + view.getUint32(12, true);
  if (bytes.length < start) throw new ViewError(`a packed view cut short: ${bytes.length} bytes, a header up to byte ${start}`);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(PRELUDE, start))) as { title: string; meta: Record<string, unknown>; arrays: Entry[] };
  const arrays: Record<string, Packed> = {};
  for (const entry of head.arrays) arrays[entry.name] = { shape: entry.shape, data: read(bytes, start, entry) };
  return { title: head.title, meta: head.meta, arrays };
}

function read(bytes: Uint8Array, start: number, entry: Entry): Numbers {
  const size = SIZES[entry.dtype];
  if (!size) throw new ViewError(`array ${entry.name} of type ${entry.dtype}; this page reads ${Object.keys(SIZES).join(", ")}`);
  const count = entry.shape.reduce((n, side) => n * side, 1);
  if (count * size !== entry.nbytes) throw new ViewError(`array ${entry.name}: ${entry.nbytes} bytes for shape ${entry.shape.join("×")} of ${entry.dtype}`);
  const begin = start + entry.offset;
  if (begin + entry.nbytes > bytes.length) throw new ViewError(`a packed view cut short: ${bytes.length} bytes, array ${entry.name} up to byte ${begin + entry.nbytes}`);
  const at = bytes.byteOffset + begin;
  switch (entry.dtype) {
    case "u1": return new Uint8Array(bytes.buffer, at, count);
    case "u2": return new Uint16Array(bytes.buffer, at, count);
    case "i4": return new Int32Array(bytes.buffer, at, count);
    case "f2": return fromHalf(new Uint16Array(bytes.buffer, at, count));
    case "f4": return new Float32Array(bytes.buffer, at, count);
    default: return new Float64Array(bytes.buffer, at, count);
  }
}

/** One array of a block, of the type that is expected. */
export function arrayOf<T extends Numbers>(block: Block, name: string, type: new (...args: never[]) => T): T {
  const found = block.arrays[name]?.data;
  if (!(found instanceof type)) throw new ViewError(`a block without the array ${name} (it has ${Object.keys(block.arrays).join(", ") || "none"})`);
  return found;
}
