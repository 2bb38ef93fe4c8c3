/* Data of clouds, asked for once: positions, columns, table rows, thumbnails. */
import type { Clouds, ColumnValues, Positions, TableRow } from "../../core/clouds";

const CHUNK = 100;
const MOST_THUMBS = 3000;

export interface Picture {
  url: string;
  why: string;
}

export class CloudStore {
  private readonly held = new Map<string, Promise<unknown>>();
  private readonly rows = new Map<string, TableRow>();
  private readonly thumbs = new Map<string, Picture>();
  private readonly stop = new AbortController();

  constructor(private readonly clouds: Clouds) {}

  positions(cloud: number, map: number): Promise<Positions> {
    return this.once(`map ${cloud} ${map}`, () => this.clouds.points(cloud, map, this.stop.signal));
  }

  column(cloud: number, name: string): Promise<ColumnValues> {
    return this.once(`column ${cloud} ${name}`, () => this.clouds.column(cloud, name, this.stop.signal));
  }

  /** One request a name; one that failed is asked again the next time. */
  private once<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const known = this.held.get(key) as Promise<T> | undefined;
    if (known) return known;
    const coming = ask();
    this.held.set(key, coming);
    coming.catch(() => this.held.delete(key));
    return coming;
  }

  async table(cloud: number, rows: number[], map: number, signal: AbortSignal): Promise<TableRow[]> {
    const missing = rows.filter((row) => !this.rows.has(`${cloud} ${row}`));
    for (let at = 0; at < missing.length; at += 1000) {
      const part = missing.slice(at, at + 1000);
      (await this.clouds.table(cloud, part, map, signal)).forEach((found, i) => this.rows.set(`${cloud} ${part[i]}`, found));
    }
    return rows.map((row) => this.rows.get(`${cloud} ${row}`)!);
  }

  picture(cloud: number, row: number, size: number): Picture | undefined {
    return this.thumbs.get(`${cloud} ${size} ${row}`);
  }

  /** Fetches what is missing; `arrived` is called after each part. */
  async pictures(cloud: number, rows: number[], size: number, signal: AbortSignal, arrived: () => void): Promise<void> {
    const missing = rows.filter((row) => !this.picture(cloud, row, size));
    for (let at = 0; at < missing.length; at += CHUNK) {
      const part = missing.slice(at, at + CHUNK);
      const { pictures, failed } = await this.clouds.thumbs(cloud, part, size, signal);
      for (const row of part) {
        const bytes = pictures.get(row);
        const url = bytes ? URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) : "";
        this.thumbs.set(`${cloud} ${size} ${row}`, { url, why: url ? "" : (failed.get(row) ?? "no picture") });
      }
      this.forget();
      arrived();
    }
  }

  private forget(): void {
    for (const [key, picture] of this.thumbs) {
      if (this.thumbs.size <= MOST_THUMBS) return;
      if (picture.url) URL.revokeObjectURL(picture.url);
      this.thumbs.delete(key);
    }
  }

  end(): void {
    this.stop.abort();
    for (const picture of this.thumbs.values()) if (picture.url) URL.revokeObjectURL(picture.url);
    this.thumbs.clear();
  }
}
