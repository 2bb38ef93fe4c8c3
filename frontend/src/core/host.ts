/* The one interface between the view and wherever it lives: a page, a file, a notebook. */
import type { LinksAnswer, MapAnswer, Rows } from "./answers";
import type { Audit } from "./audit";
import type { Catalogue } from "./catalogue";
import type { Clouds } from "./clouds";
import type { Links, State } from "./state";

export interface MapRequest {
  source: number;
  method: string;
  query?: string;
  layer?: number;
  head?: string;
  fuse?: string;
  residual?: number;
  discard?: number;
  target?: string;
  against?: string;
}

export interface LinksRequest {
  source: number;
  layer: number;
  head: string;
  links: Links;
}

export interface HostFile {
  root: string;
  path: string;
}

export interface Uploaded {
  source: number;
  catalogue: Catalogue;
}

export interface Host {
  readonly kind: "page" | "file" | "notebook";
  catalogue(signal: AbortSignal): Promise<Catalogue>;
  rows(source: number, query: string, signal: AbortSignal): Promise<Rows>;
  /** One part or several, each better than the one before; leaving early stops the work. */
  map(request: MapRequest, signal: AbortSignal): AsyncIterable<MapAnswer>;
  links(request: LinksRequest, signal: AbortSignal): Promise<LinksAnswer>;
  /** What the model was fed of a photo. */
  audit(source: number, signal: AbortSignal): Promise<Audit>;
  upload(file: File, model: string, signal: AbortSignal): Promise<Uploaded>;
  /** Photos that the host itself can open, and one of them opened. */
  files(signal: AbortSignal): Promise<HostFile[]>;
  open(file: HostFile, model: string, signal: AbortSignal): Promise<Uploaded>;
  /** Answers about clouds of points. */
  readonly clouds: Clouds;
  /** A point's photo as a source. */
  openPoint(cloud: number, row: number, signal: AbortSignal): Promise<Uploaded>;
  /** The state to begin with: from the address, the file or the notebook; null where there is none. */
  firstState(): State | null;
  setState(state: State): void;
  /** Somebody else changed the state (Python, the address). */
  onState(heard: (state: State) => void, failed: (error: unknown) => void): () => void;
  /** Somebody else changed what there is to look at. */
  onCatalogue(heard: (catalogue: Catalogue) => void): () => void;
  /** An address that opens this very view; null where there is none. */
  link(state: State): string | null;
  /** The surrounding's own theme; null where the page's colour scheme decides. */
  theme(heard: (dark: boolean | null) => void): () => void;
}
