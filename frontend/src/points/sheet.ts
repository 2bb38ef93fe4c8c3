/* A page to save: a list of marks, drawn on a canvas or written as SVG. */

export type Mark =
  | { kind: "rect"; x: number; y: number; width: number; height: number; fill: string }
  | { kind: "line"; x0: number; y0: number; x1: number; y1: number; stroke: string; width: number }
  | { kind: "disc"; x: number; y: number; r: number; fill: string }
  | { kind: "text"; x: number; y: number; size: number; words: string; fill: string; weight?: number; anchor?: "start" | "middle" | "end" }
  | { kind: "image"; x: number; y: number; width: number; height: number; from: HTMLCanvasElement }
  | { kind: "path"; corners: [number, number][]; stroke: string };

export interface Page {
  width: number;
  height: number;
  marks: Mark[];
}

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";

/** The page on a canvas of its own. */
export function pageCanvas(page: Page, density: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(page.width * density);
  canvas.height = Math.round(page.height * density);
  const context = canvas.getContext("2d")!;
  context.scale(density, density);
  for (const mark of page.marks) draw(context, mark);
  return canvas;
}

function draw(context: CanvasRenderingContext2D, mark: Mark): void {
  switch (mark.kind) {
    case "rect":
      context.fillStyle = mark.fill;
      return context.fillRect(mark.x, mark.y, mark.width, mark.height);
    case "image":
      return context.drawImage(mark.from, mark.x, mark.y, mark.width, mark.height);
    case "text":
      context.font = `${mark.weight ?? 400} ${mark.size}px ${FONT}`;
      context.fillStyle = mark.fill;
      context.textAlign = mark.anchor === "middle" ? "center" : (mark.anchor ?? "start");
      return context.fillText(mark.words, mark.x, mark.y);
    case "disc":
      context.fillStyle = mark.fill;
      context.beginPath();
      context.arc(mark.x, mark.y, mark.r, 0, 2 * Math.PI);
      return context.fill();
    default:
      return stroke(context, mark);
  }
}

function stroke(context: CanvasRenderingContext2D, mark: Extract<Mark, { kind: "line" | "path" }>): void {
  context.strokeStyle = mark.stroke;
  context.lineWidth = mark.kind === "line" ? mark.width : 1.5;
  context.beginPath();
  if (mark.kind === "line") {
    context.moveTo(mark.x0, mark.y0);
    context.lineTo(mark.x1, mark.y1);
  } else {
    mark.corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
  }
  context.stroke();
}

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
const number = (value: number) => String(Number(value.toFixed(2)));

/** The page as SVG text. */
export function pageSvg(page: Page): string {
  const [width, height] = [number(page.width), number(page.height)];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${escaped(FONT)}">\n${page.marks.map(written).join("\n")}\n</svg>\n`;
}

function written(mark: Mark): string {
  switch (mark.kind) {
    case "rect":
      return `<rect x="${number(mark.x)}" y="${number(mark.y)}" width="${number(mark.width)}" height="${number(mark.height)}" fill="${mark.fill}"/>`;
    case "image":
      return `<image x="${number(mark.x)}" y="${number(mark.y)}" width="${number(mark.width)}" height="${number(mark.height)}" href="${mark.from.toDataURL("image/png")}"/>`;
    case "disc":
      return `<circle cx="${number(mark.x)}" cy="${number(mark.y)}" r="${number(mark.r)}" fill="${mark.fill}"/>`;
    case "line":
      return `<line x1="${number(mark.x0)}" y1="${number(mark.y0)}" x2="${number(mark.x1)}" y2="${number(mark.y1)}" stroke="${mark.stroke}" stroke-width="${mark.width}"/>`;
    case "path":
      return `<path d="M${mark.corners.map(([x, y]) => `${number(x)} ${number(y)}`).join("L")}Z" fill="none" stroke="${mark.stroke}" stroke-width="1.5"/>`;
    case "text":
      return `<text x="${number(mark.x)}" y="${number(mark.y)}" font-size="${mark.size}" fill="${mark.fill}" font-weight="${mark.weight ?? 400}" text-anchor="${mark.anchor ?? "start"}">${escaped(mark.words)}</text>`;
  }
}
