/* The one running view: state in, data and drawn values out. Data is asked for at once on every change; drawing follows by itself. */
import { flushSync } from "svelte";
import type { LinksAnswer, MapAnswer, Rows } from "../core/answers";
import { attentionMap, requestOf, seenIn } from "../core/asked";
import { Cache } from "../core/cache";
import { boxesLook, boxOfQuery, cellOf, methodOf, paddedOf, patchValues, queriesOf, queryOf, seenFrom, stackOf, type Catalogue, type Cell, type Source } from "../core/catalogue";
import { limitsOf, widest, type Limits } from "../core/colour";
import { isAbort, oneLine } from "../core/errors";
import { fetchMap, RowStore } from "../core/fetching";
import { headRow } from "../core/fuse";
import { cellAcross, sameGrid } from "../core/geometry";
import type { Host, HostFile, MapRequest, Uploaded } from "../core/host";
import { normalised } from "../core/normalise";
import { DEFAULTS, fitted, hasQuery, layerOf, otherOf, type State } from "../core/state";
import { refusedQuery } from "../core/stored";
import { needsText, remembered } from "../core/texts";
import { smallValues, type SmallValues } from "../draw/small";

export interface Key {
  token: number;
  /** Where on the grid; null for a token that has no place. */
  cell: Cell | null;
  /** The small map pointed at; null for the large map. */
  small: { layer: number; head: number } | null;
}

const MAP_BYTES = 32e6;
const SOON = 120;

/** One of the one or two things looked at: its data and the large map made of it. */
export class Side {
  state = $state.raw<State>(DEFAULTS);
  rows = $state.raw<Rows | null>(null);
  /** The query the rows in hand belong to: while new ones are on their way, the old ones stay and say so. */
  rowsQuery = $state.raw("");
  rowsSource = $state.raw<Source | null>(null);
  asked = $state.raw<MapAnswer | null>(null);
  waiting = $state.raw(false);
  private stopRows = new AbortController();
  private stopMap = new AbortController();
  private rowsKey = "";
  private mapKey = "";

  constructor(private readonly session: Session) {}

  source = $derived.by(() => seenIn(this.session.catalogue, this.state));
  layer = $derived.by(() => (this.source ? layerOf(this.state, this.source.layers.length) : 0));
  isAttention = $derived(this.state.method === "attention");

  /** The large map on all tokens; null while nothing is there. */
  map: MapAnswer | null = $derived.by(() => {
    if (!this.isAttention) return this.asked;
    const { rows, source } = this;
    if (!rows || !source || this.rowsSource !== source) return null;
    const head = rows.heads ? this.state.head : "mean";
    return attentionMap(source, rows, this.rowsQuery, head, headRow(source, rows, this.layer, head));
  });

  /** Its patch values, normalised. */
  grid = $derived.by(() => (this.map && this.source ? normalised(patchValues(this.source, this.map.values), this.state.norm) : null));
  raw = $derived.by(() => (this.map && this.source ? patchValues(this.source, this.map.values) : null));

  clear(): void {
    this.stop();
    this.rows = null;
    this.asked = null;
    this.rowsKey = this.mapKey = "";
  }

  stop(): void {
    this.stopRows.abort();
    this.stopMap.abort();
  }

  /** Makes the data follow the state. */
  follow(state: State): void {
    this.state = state;
    if (!this.source) return;
    this.followRows(state);
    if (state.method === "attention") {
      this.stopMap.abort();
      this.mapKey = "";
      this.asked = null;
    } else this.followMap(state);
  }

  private followRows(state: State): void {
    if (this.source!.layers.length === 0) {
      this.stopRows.abort();
      this.rows = null;
      this.rowsKey = "";
      this.waiting = false;
      return;
    }
    const key = `${state.source} ${state.query}`;
    const known = this.session.store.peek(state.source, state.query);
    if (key === this.rowsKey && (known || this.waiting)) return;
    this.rowsKey = key;
    this.stopRows.abort();
    if (known) return this.took(known, state);
    this.waiting = true;
    this.stopRows = new AbortController();
    this.session.store.ask(state.source, state.query, this.stopRows.signal).then(
      (rows) => {
        if (key === this.rowsKey) {
          this.took(rows, state);
          this.session.drawn();
        }
      },
      (error: unknown) => {
        if (key !== this.rowsKey || isAbort(error)) return;
        this.waiting = false;
        this.rows = null;
        this.rowsKey = "";
        this.session.fail(error);
      },
    );
  }

  private took(rows: Rows, state: State): void {
    this.rows = rows;
    this.rowsQuery = state.query;
    this.rowsSource = this.source;
    this.waiting = false;
    this.session.store.prefetch(state.source, this.source!, state.query);
  }

  private followMap(state: State): void {
    const request = requestOf(this.source!, state);
    const key = JSON.stringify(request);
    if (key === this.mapKey) return;
    this.mapKey = key;
    this.stopMap.abort();
    if (needsText(this.session.catalogue!, this.source!, state)) {
      this.asked = null;
      return;
    }
    const known = this.session.maps.get(key);
    if (known) {
      this.asked = known;
      return;
    }
    this.asked = null;
    const why = methodOf(this.source!, state.method)?.available === false ? methodOf(this.source!, state.method)!.why : "";
    if (why) return this.session.fail(new Error(why));
    this.stopMap = new AbortController();
    void this.stream(request, key, this.stopMap.signal);
  }

  private async stream(request: MapRequest, key: string, signal: AbortSignal): Promise<void> {
    this.session.working++;
    try {
      for await (const part of this.session.host.map(request, signal)) {
        if (key !== this.mapKey) return;
        this.asked = part;
        if (part.progress?.done ?? true) this.session.maps.set(key, part, part.values.byteLength * 2);
      }
    } catch (error) {
      if (key === this.mapKey && !isAbort(error)) {
        this.mapKey = "";
        this.session.fail(error);
      }
    } finally {
      this.session.working--;
    }
  }
}

export class Session {
  catalogue = $state.raw<Catalogue | null>(null);
  state = $state.raw<State>(DEFAULTS);
  key = $state.raw<Key | null>(null);
  status = $state.raw<{ text: string; error: boolean }>({ text: "", error: false });
  working = $state(0);
  links = $state.raw<LinksAnswer | null>(null);
  /** Texts explained so far, as targets, the latest first. */
  texts = $state.raw<readonly string[]>([]);
  readonly maps = new Cache<MapAnswer>(MAP_BYTES);
  store: RowStore;
  a: Side;
  b: Side;
  private linksKey = "";
  private stopLinks = new AbortController();
  private stopAsking = new AbortController();
  private readonly ending: (() => void)[] = [];
  private began: number | null = null;
  private saving: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly host: Host,
    private readonly root: HTMLElement,
    private readonly only: number | null,
  ) {
    this.store = new RowStore(host, false);
    this.a = new Side(this);
    this.b = new Side(this);
  }

  source = $derived.by(() => seenIn(this.catalogue, this.state));
  /** Why patches cannot be asked where they look; "" where they can. */
  patchesWhy = $derived.by(() => {
    const source = this.catalogue?.sources[this.state.source];
    if (!source?.layers.length) return "this model's patches have no rows of attention";
    return this.catalogue!.capabilities.live ? "" : refusedQuery(source, "0,0");
  });
  patchesAsk = $derived(this.patchesWhy === "");
  /** The number of the box that is looked from or explained; null where none is. */
  box = $derived.by(() => boxOfQuery(this.state.query) ?? (this.a.map?.mark?.kind === "box" ? (this.a.map.mark.number ?? null) : null));
  /** In place of the small maps, where there are none. */
  noRows = $derived.by(() => {
    const boxes = this.source?.boxes?.why;
    const why = (boxes || this.source?.no_rows || "").replace(/;.*$/s, "").replace(/^[\w.:/-]+: /, "");
    return `No small maps here: ${why || "this model has no rows of attention"}. Maps of the other methods are on the photo${boxes && this.catalogue?.capabilities.live ? "; choose a box to explain its score" : ""}.`;
  });
  stack = $derived.by(() => (this.source ? stackOf(this.source) : null));
  layer = $derived.by(() => (this.source ? layerOf(this.state, this.source.layers.length) : 0));
  method = $derived.by(() => (this.source ? methodOf(this.source, this.state.method) : undefined));
  needsText = $derived.by(() => this.catalogue !== null && this.source !== null && needsText(this.catalogue, this.source, this.state));
  comparing = $derived.by(() => this.state.compare !== null && this.b.source !== null);
  padded = $derived.by(() => (this.source?.padded.length ? paddedOf(this.source) : undefined));

  small: SmallValues | null = $derived.by(() => {
    const { rows, rowsSource } = this.a;
    if (!rows || !rowsSource || rowsSource !== this.source) return null;
    const beside = this.a.isAttention ? [this.a.grid, this.comparing && this.b.isAttention ? this.b.grid : null].filter((grid) => grid !== null) : [];
    return smallValues(rowsSource, rows, this.state.norm, this.state.range, { layer: this.layer, grids: beside });
  });

  /** Limits of the large maps; A and B share one scale unless every map has its own. */
  limits = $derived.by((): { a: Limits; b: Limits } => {
    const signed = this.state.norm === "raw" && ((this.a.map?.signed ?? false) || (this.b.map?.signed ?? false));
    const [a, b] = [this.a.grid, this.comparing ? this.b.grid : null];
    const of = (grid: Float32Array | null, source: Source | null) => limitsOf(grid ? [grid] : [], signed, source?.padded.length ? paddedOf(source) : undefined);
    const own = { a: of(a, this.a.source), b: of(b, this.b.source) };
    if (this.state.range === "map") return own;
    const small = this.a.isAttention && this.small ? this.small.limits[this.state.range === "shared" ? 0 : this.smallIndex(this.layer)] : undefined;
    const maps = b === null ? own.a : widest(own.a, own.b);
    const both = small ? widest(small, maps) : maps;
    return { a: both, b: both };
  });

  /** A − B patch by patch, or why there is none. */
  difference = $derived.by((): { grid: Float32Array; limits: Limits } | string | null => {
    if (!this.comparing) return null;
    const [a, b] = [this.a, this.b];
    if (!a.source || !b.source) return null;
    if (!sameGrid(a.source.frame, b.source.frame)) return `No difference map: the grids differ (${a.source.frame.grid.join(" × ")} and ${b.source.frame.grid.join(" × ")} patches).`;
    if (!a.grid || !b.grid) return null;
    if (a.map!.unit !== b.map!.unit && !a.isAttention) return `No difference map: the units differ (${a.map!.unit}; ${b.map!.unit}).`;
    const other = b.grid;
    const grid = a.grid.map((v, i) => v - other[i]!);
    return { grid, limits: limitsOf([grid], true, this.padded) };
  });

  private smallIndex(layer: number): number {
    return this.a.rows?.heads ? (this.stack?.first[layer] ?? 0) : layer;
  }

  /** Opens the catalogue and the first state. */
  async start(): Promise<void> {
    const stop = new AbortController();
    this.ending.push(() => stop.abort());
    try {
      const catalogue = await this.host.catalogue(stop.signal);
      this.open(catalogue);
      this.change(this.begin(), { quiet: true });
      this.ending.push(this.host.onState((state) => this.take(state), (error) => this.fail(error)));
      this.ending.push(this.host.onCatalogue((changed) => {
        this.open(changed);
        this.change(this.fit(this.state), { quiet: true });
      }));
    } catch (error) {
      if (!isAbort(error)) this.fail(error);
    }
  }

  private begin(): State {
    const plain: State = { ...DEFAULTS, source: this.only ?? 0 };
    try {
      return this.fit(this.host.firstState() ?? plain);
    } catch (error) {
      this.fail(error);
      return this.fit(plain);
    }
  }

  private fit(state: State): State {
    const { state: possible, complaints } = fitted(state, this.catalogue!);
    const source = this.catalogue!.sources[possible.source];
    const refused = source && !this.catalogue!.capabilities.live ? refusedQuery(source, possible.query) : "";
    if (refused) {
      possible.query = queriesOf(source!)[0] ?? "pooled";
      complaints.push(refused);
    }
    if (complaints.length) this.fail(new Error(`not here: ${complaints.join("; ")}`));
    return possible;
  }

  private open(catalogue: Catalogue): void {
    this.catalogue = catalogue;
    this.store = new RowStore(this.host, catalogue.capabilities.live);
    this.maps.clear();
    this.a.clear();
    this.b.clear();
    this.linksKey = "";
  }

  private take(state: State): void {
    if (JSON.stringify(state) !== JSON.stringify(this.state)) this.change(this.fit(state), { quiet: true });
  }

  end(): void {
    this.a.stop();
    this.b.stop();
    this.stopLinks.abort();
    this.stopAsking.abort();
    clearTimeout(this.saving);
    for (const end of this.ending) end();
  }

  fail(error: unknown): void {
    this.status = { text: oneLine(error), error: true };
  }

  say(text: string): void {
    this.status = { text, error: false };
  }

  /** Changes the state; data and drawing follow. */
  change(patch: Partial<State>, { quiet = false } = {}): void {
    if (this.status.error && !quiet) this.status = { text: "", error: false };
    const before = this.state;
    const next = { ...before, ...patch };
    this.state = next;
    if (!this.catalogue) return;
    if (this.source) this.followPhoto(before, next);
    else if (!this.catalogue.clouds?.length) return;
    if (quiet) return;
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.host.setState(this.state), SOON);
  }

  /** Explains something else once its map is there; where there is none, all stays as it is, and why is returned. */
  async explain(patch: Partial<Pick<State, "target" | "against">> | { compare: { target: string } }): Promise<string> {
    const next: State = { ...this.state, ...patch };
    const wanted = "compare" in patch ? otherOf(next)! : next;
    this.stopAsking.abort();
    this.stopAsking = new AbortController();
    const { signal } = this.stopAsking;
    this.working++;
    try {
      if (!needsText(this.catalogue!, this.source!, wanted)) await fetchMap(this.host, this.maps, requestOf(this.source!, wanted), signal);
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) return oneLine(error);
    } finally {
      this.working--;
    }
    if (signal.aborted || this.state.source !== next.source) return "something else was asked for meanwhile: Enter asks again";
    this.change(patch);
    return "";
  }

  private followPhoto(before: State, next: State): void {
    if (next.source !== before.source) this.key = null;
    this.texts = remembered(this.texts, next);
    this.a.follow(next);
    this.followOther(next);
    this.followLinks(next);
  }

  private followOther(state: State): void {
    const other = otherOf(state);
    if (!other) return this.b.clear();
    const [from, to] = [this.source!, this.catalogue!.sources[other.source]];
    if (!to) return;
    const cell = cellOf(other.query);
    const across = cell && other.source !== state.source ? queryOf(cellAcross(from.frame, cell, to.frame)) : other.query;
    const query = cell || queriesOf(to).includes(across) ? across : (queriesOf(to)[0] ?? "pooled");
    const layer = other.layer !== null && other.layer >= seenFrom(to, query).layers.length ? null : other.layer;
    this.b.follow({ ...other, query, layer });
  }

  private followLinks(state: State): void {
    const request = { source: state.source, layer: this.layer, head: state.head, links: state.links! };
    const ask = state.links && boxOfQuery(state.query) === null && this.patchesAsk;
    const key = ask ? JSON.stringify(request) : "";
    if (key === this.linksKey) return;
    this.linksKey = key;
    this.stopLinks.abort();
    this.links = null;
    if (!ask) return;
    this.stopLinks = new AbortController();
    this.working++;
    this.host
      .links(request, this.stopLinks.signal)
      .then(
        (links) => key === this.linksKey && (this.links = links),
        (error: unknown) => key === this.linksKey && !isAbort(error) && this.fail(error),
      )
      .finally(() => this.working--);
  }

  /** Points at a patch of the photo: a free query follows, a fixed one is read there. */
  point(cell: Cell | null): void {
    const source = this.source;
    if (!source) return;
    this.began = performance.now();
    if (!cell) this.key = null;
    else {
      this.key = { token: source.tokens.patches[cell[0] * source.frame.grid[1] + cell[1]]!, cell, small: null };
      const query = queryOf(cell);
      if (!this.state.fixed && this.patchesAsk && query !== this.state.query) this.change({ query });
    }
    this.drawn();
  }

  /** Reads a map under the pointer without moving the query. */
  read(key: Key | null): void {
    this.began = performance.now();
    this.key = key;
    this.drawn();
  }

  /** Draws what changed, and tells how long it took once the data was there. */
  drawn(): void {
    flushSync();
    if (this.began === null || this.a.waiting) return;
    const ms = performance.now() - this.began;
    performance.clearMeasures("vitscope:drawn");
    performance.measure("vitscope:drawn", { start: this.began, end: this.began + ms });
    this.began = null;
    this.root.dispatchEvent(new CustomEvent("vitscope:drawn", { bubbles: true, composed: true, detail: { ms, query: this.a.rowsQuery } }));
  }

  /** Fixes or frees the query. */
  fix(query: string | null = null): void {
    if (query !== null && cellOf(query) && !this.patchesAsk) return; // it is read, and that is all
    this.change(query === null ? { fixed: true } : { fixed: true, query });
  }

  /** Chooses a box: where it looked, and what methods explain; where a file does not carry the latter, its own choice stays. */
  chooseBox(number: number): void {
    const source = this.source!;
    const target = `box:${number}`;
    const explained = this.catalogue!.capabilities.live || source.stored?.maps.some((map) => map.mark?.number === number);
    this.change({ ...(boxesLook(source) ? { query: `box ${number}`, fixed: true } : {}), target: explained ? target : null, against: null });
  }

  free(): void {
    this.change({ fixed: false });
  }

  /** A point's photo becomes what is looked at. */
  async openPoint(cloud: number, row: number): Promise<boolean> {
    const { source, catalogue } = await this.host.openPoint(cloud, row, new AbortController().signal);
    this.open(catalogue);
    this.look(source);
    return true;
  }

  /** Another photo, as like as it can be: the same query where it has one of that name. */
  switchTo(source: number): void {
    const query = hasQuery(this.catalogue!.sources[source]!, this.state.query) ? this.state.query : "pooled";
    this.change(this.fit({ ...this.state, source, query, compare: null, target: null, against: null }));
  }

  private look(source: number): void {
    this.change(this.fit({ ...this.state, source, query: "pooled", fixed: false, target: null, against: null, compare: null }));
  }

  /** Takes in one photo more and shows it. */
  async upload(file: File, model: string): Promise<void> {
    const { capabilities } = this.catalogue!;
    if (!capabilities.upload) return this.fail(new Error(capabilities.why));
    const most = capabilities.limits?.upload_bytes;
    if (most && file.size > most) return this.fail(new Error(`${file.name}: ${file.size} bytes; this page takes up to ${most}`));
    await this.show(file.name, this.host.upload(file, model, new AbortController().signal));
  }

  /** Opens a photo that lies where the host can read it. */
  async openFile(file: HostFile, model: string): Promise<void> {
    await this.show(file.path, this.host.open(file, model, new AbortController().signal));
  }

  private async show(name: string, coming: Promise<Uploaded>): Promise<void> {
    this.working++;
    this.say(`${name}: on its way through the model …`);
    try {
      const { source, catalogue } = await coming;
      this.open(catalogue);
      this.say("");
      this.look(source);
    } catch (error) {
      this.fail(error);
    } finally {
      this.working--;
    }
  }
}
