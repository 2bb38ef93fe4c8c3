/* Rows on demand: in hand at once where they were asked before, one request at a time for what is pointed at, neighbours fetched ahead. */
import type { MapAnswer, Rows } from "./answers";
import { around, moved } from "./geometry";
import { cellOf, queryOf, type Source } from "./catalogue";
import { Cache } from "./cache";
import { isAbort } from "./errors";
import type { Host, MapRequest } from "./host";

const MOST_BYTES = 128e6;
const AHEAD = 3;
/** Milliseconds a pointer must rest before its neighbours are fetched: while it moves they would only be in the way. */
const REST = 120;

export class RowStore {
  private readonly cache = new Cache<Rows>(MOST_BYTES);
  private readonly going = new Map<string, { promise: Promise<Rows>; stop: AbortController }>();
  private ahead: string[] = [];
  private rest: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: Host, private readonly live: boolean) {}

  private key = (source: number, query: string) => `${source} ${query}`;

  /** Rows in hand, or undefined. */
  peek(source: number, query: string): Rows | undefined {
    return this.cache.get(this.key(source, query));
  }

  /** Rows of a query. Aborting `signal` stops the request unless somebody else waits for it. */
  async ask(source: number, query: string, signal: AbortSignal): Promise<Rows> {
    const key = this.key(source, query);
    const known = this.cache.get(key);
    if (known) return known;
    this.stopAllBut(key);
    const request = this.start(source, query);
    signal.addEventListener("abort", () => request.stop.abort(), { once: true });
    return request.promise;
  }

  private start(source: number, query: string) {
    const key = this.key(source, query);
    const going = this.going.get(key);
    if (going) return going;
    const stop = new AbortController();
    const promise = this.host.rows(source, query, stop.signal).then(
      (rows) => {
        this.going.delete(key);
        this.cache.set(key, rows, rows.values.byteLength);
        return rows;
      },
      (error: unknown) => {
        this.going.delete(key);
        throw error;
      },
    );
    const request = { promise, stop };
    this.going.set(key, request);
    return request;
  }

  /** A new wish makes fetching ahead for the old one pointless. */
  private stopAllBut(key: string): void {
    clearTimeout(this.rest);
    this.ahead = [];
    for (const [other, request] of this.going) if (other !== key && this.fetchedAhead.delete(other)) request.stop.abort();
  }

  private readonly fetchedAhead = new Set<string>();

  /** Fetches the eight neighbours of a patch, a few at a time, the ones on the way first. */
  prefetch(source: number, given: Source, query: string): void {
    const cell = cellOf(query);
    if (!cell || !this.live) return;
    const straight = ([[0, 1], [0, -1], [1, 0], [-1, 0]] as const).map((step) => moved(given.frame, cell, [step[0], step[1]]));
    const queries = new Set([...straight, ...around(given.frame, cell)].map(queryOf));
    queries.delete(query);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.ahead = [...queries].filter((wanted) => !this.cache.has(this.key(source, wanted)));
      for (let i = 0; i < AHEAD; i++) this.next(source);
    }, REST);
  }

  private next(source: number): void {
    const query = this.ahead.shift();
    if (query === undefined) return;
    const key = this.key(source, query);
    if (this.cache.has(key) || this.going.has(key)) return this.next(source);
    this.fetchedAhead.add(key);
    this.start(source, query).promise.then(
      () => {
        this.fetchedAhead.delete(key);
        this.next(source);
      },
      (error: unknown) => {
        this.fetchedAhead.delete(key);
        if (!isAbort(error)) this.ahead = []; // whoever points there will be told
      },
    );
  }
}

/** A whole map into the maps that are kept. */
export async function fetchMap(host: Host, maps: Cache<MapAnswer>, request: MapRequest, signal: AbortSignal): Promise<void> {
  const key = JSON.stringify(request);
  if (maps.get(key)) return;
  for await (const part of host.map(request, signal)) if (part.progress?.done ?? true) maps.set(key, part, part.values.byteLength * 2);
}
