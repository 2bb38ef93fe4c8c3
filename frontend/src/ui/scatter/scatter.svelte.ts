/* The running scatter: its part of the state in, positions, colours and selection out. */
import { flushSync, untrack } from "svelte";
import {
  cameraOf,
  colourColumn,
  differingPoints,
  pointsOf,
  UPRIGHT,
  type Camera,
  type Cloud,
  type ColumnValues,
  type Outline,
  type PointsState,
  type Positions,
} from "../../core/clouds";
import { isAbort, oneLine } from "../../core/errors";
import { inksOf, shadesOf } from "../../points/colours";
import { within } from "../../points/lasso";
import { inOrder, orderOf, rowsMarked } from "../../points/order";
import { planeOf, shortCamera } from "../../points/project";
import type { Session } from "../session.svelte";
import { CloudStore } from "./store";

/** One map in drawing order. */
export interface Shown {
  map: number;
  positions: Positions;
  data: Uint16Array;
}

/** Points that are enough for the browser to compile the loops over all of them. */
const ENOUGH = 60_000;

export class Scatter {
  note = $state.raw<{ text: string; error: boolean }>({ text: "", error: false });
  working = $state(0);
  /** Which painter draws, in a sentence; "" where there was only ever one. */
  drawnBy = $state("");
  /** The map to draw; null while it is on its way. */
  shown = $state.raw<Shown | null>(null);
  /** The map the lasso was drawn on. */
  lassoed = $state.raw<Shown | null>(null);
  values = $state.raw<{ name: string; values: ColumnValues } | null>(null);
  /** Camera of a gesture that goes on; it goes into the state once that rests. */
  moving = $state.raw<Camera | null>(null);
  hovered = $state.raw<number | null>(null);
  readonly store: CloudStore;
  /** When the data of the map arrived, until it is first drawn. */
  arrived: number | null = null;
  private readonly placed = new Map<string, Shown>();

  constructor(
    readonly session: Session,
    private readonly root: HTMLElement,
  ) {
    this.store = new CloudStore(session.host.clouds);
  }

  private clouds = $derived.by((): Cloud[] => this.session.catalogue!.clouds!);
  points = $derived.by((): PointsState => pointsOf(this.session.state.points, this.clouds));
  cloud = $derived.by((): Cloud => this.clouds[this.points.cloud]!);
  map = $derived.by(() => this.cloud.maps[this.points.map]!);
  column = $derived.by(() => colourColumn(this.cloud, this.points));
  camera = $derived.by((): Camera => this.moving ?? cameraOf(this.points, this.map.dims));
  plane = $derived.by(() => planeOf(this.map.dims, this.camera.turn));
  /** What colours the points now; "none" while the column's values are on their way. */
  kind = $derived.by((): "category" | "number" | "none" => (this.column && this.values?.name === this.column.name ? this.column.kind : "none"));
  private count = $derived.by(() => this.cloud.count);
  order = $derived.by(() => orderOf(this.count));
  private hidden = $derived.by(() => this.points.hidden);
  private outline = $derived.by(() => this.points.lasso);
  private lassoAt = $derived.by(() => JSON.stringify(this.points.lasso_at));

  shades = $derived.by(() => {
    const { column, values } = this;
    return shadesOf(column, values && values.name === column?.name ? values.values : null, this.hidden, this.order);
  });

  /** 1 for each selected point, in drawing order; null where nothing is lassoed. */
  selected = $derived.by((): Uint8Array | null => {
    const { outline, lassoed } = this;
    if (!outline || !lassoed) return null;
    return within(outline, lassoed.data, planeOf(lassoed.positions.dims, this.lassoTurn()), this.shades.shade);
  });

  /** Rows of the selection, ascending; listed once the selection is painted, see `list`. */
  rows = $state.raw<Uint32Array | null>(null);
  private listing: ReturnType<typeof setTimeout> | undefined;
  ink = $derived.by(() => inksOf(this.shades.shade, this.selected));

  /** The turn and map of the lasso: its own, or the state's. */
  private lassoTurn() {
    const at = JSON.parse(this.lassoAt) as PointsState["lasso_at"];
    return at?.turn ?? untrack(() => cameraOf(this.points, this.map.dims).turn);
  }

  /** The outline lies where it was drawn: on this map, seen from the same side. */
  outlineHere = $derived.by((): Outline | null => {
    const { lasso, lasso_at, map } = this.points;
    if (!lasso || (lasso_at && lasso_at.map !== map)) return null;
    return this.map.dims === 2 || !lasso_at || lasso_at.turn.join() === this.camera.turn.join() ? lasso : null;
  });

  /** Asks for what the state needs; called whenever that changes. */
  follow(): void {
    const { cloud, map, lasso, lasso_at } = this.points;
    const on = lasso_at?.map ?? map;
    this.shown = this.known(cloud, map);
    if (!this.shown) void this.place(cloud, map).then((shown) => this.points.map === map && this.points.cloud === cloud && (this.shown = shown));
    this.lassoed = lasso ? this.known(cloud, on) : null;
    if (lasso && !this.lassoed) void this.place(cloud, on).then((shown) => (this.points.lasso_at?.map ?? this.points.map) === on && (this.lassoed = shown));
    const { column } = this;
    if (column && this.values?.name !== column.name) void this.take(cloud, column.name);
  }

  private known = (cloud: number, map: number): Shown | null => this.placed.get(`${cloud} ${map}`) ?? null;

  private async place(cloud: number, map: number): Promise<Shown | null> {
    const key = `${cloud} ${map}`;
    const positions = await this.during(this.store.positions(cloud, map));
    if (!positions) return null;
    this.arrived ??= performance.now();
    const made = this.placed.get(key) ?? { map, positions, data: inOrder(positions.data, positions.dims, this.order) };
    this.placed.set(key, made);
    return made;
  }

  private async take(cloud: number, name: string): Promise<void> {
    const values = await this.during(this.store.column(cloud, name));
    if (values && this.column?.name === name) this.values = { name, values };
  }

  /** Waits for something; an error goes into the status line. */
  async during<T>(work: Promise<T>): Promise<T | null> {
    untrack(() => this.working++); // also called from effects, which must not depend on it
    try {
      return await work;
    } catch (error) {
      if (!isAbort(error)) this.fail(error);
      return null;
    } finally {
      this.working--;
    }
  }

  fail(error: unknown): void {
    this.note = { text: oneLine(error), error: true };
  }

  say(text: string): void {
    this.note = { text, error: false };
  }

  change(patch: Partial<PointsState>): void {
    if (this.note.error) this.say("");
    this.session.change({ points: differingPoints({ ...this.points, ...patch }, this.clouds) });
  }

  /** The camera of a gesture becomes the state's. */
  rest(): void {
    if (!this.moving) return;
    const camera = shortCamera(this.moving);
    this.moving = null;
    this.change({ camera });
  }

  home(): void {
    this.moving = null;
    this.change({ camera: null });
  }

  chooseMap(map: number): void {
    this.moving = null;
    this.hovered = null;
    if (map >= 0 && map < this.cloud.maps.length) this.change({ map, camera: null });
  }

  chooseCloud(cloud: number): void {
    this.moving = this.hovered = this.values = this.lassoed = null;
    this.session.change({ points: differingPoints(pointsOf({ cloud }, this.clouds), this.clouds) });
  }

  select(outline: Outline | null): void {
    if (!outline || outline.length < 3) return this.change({ lasso: null, lasso_at: null });
    const turn = this.map.dims === 3 ? this.camera.turn : UPRIGHT;
    this.change({ lasso: outline, lasso_at: { map: this.points.map, turn } });
    this.follow(); // its map is at hand: selected now, not a moment later
  }

  /** Lists what is selected, in a task of its own: the picture comes first, then the panel with the rows. */
  list(began: number | null = null): void {
    const { selected } = this;
    clearTimeout(this.listing);
    if (!selected) this.rows = null;
    else
      this.listing = setTimeout(() => {
        this.rows = rowsMarked(selected, this.order);
        if (began !== null) this.tell("listed", began, { count: this.rows.length });
      });
  }

  /** Runs the loops of a selection over a few points, while nobody waits: the first real one is then as fast as the others. */
  warm(): void {
    if (!this.shown) return;
    const { data, positions } = this.shown;
    const shade = this.shades.shade.subarray(0, ENOUGH);
    const square: Outline = [[0.2, 0.2], [0.8, 0.2], [0.75, 0.8], [0.2, 0.7]];
    for (let lap = 0; lap < 3; lap++) inksOf(shade, within(square, data.subarray(0, shade.length * positions.dims), this.plane, shade));
  }

  toggle(codes: number[]): void {
    const hidden = new Set(this.points.hidden);
    const on = codes.every((code) => hidden.has(code));
    for (const code of codes) if (on) hidden.delete(code);
    else hidden.add(code);
    this.change({ hidden: [...hidden].sort((a, b) => a - b) });
  }

  /** Tells how long something took, from the event that caused it until it stood on the page. */
  tell(kind: "first" | "draw" | "lasso" | "listed" | "hover", began: number, more: object = {}): void {
    if (kind === "hover" || kind === "listed") flushSync();
    const ms = performance.now() - began;
    performance.clearMeasures("vitscope:points");
    performance.measure("vitscope:points", { start: began, end: began + ms, detail: { kind } });
    this.root.dispatchEvent(new CustomEvent("vitscope:points", { bubbles: true, composed: true, detail: { kind, ms, ...more } }));
  }
}
