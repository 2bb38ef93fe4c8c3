/* Links as lines between patch centres. */
import type { LinksAnswer } from "../core/answers";
import type { Cell, Source } from "../core/catalogue";
import { centreOf } from "../core/geometry";

export interface Line {
  y0: number;
  x0: number;
  y1: number;
  x1: number;
  weight: number;
  /** weight / heaviest, 0..1 */
  strength: number;
}

export interface Lines {
  between: Line[];
  /** Links to or from a token that lies nowhere on the photo. */
  elsewhere: number;
  elsewhereMass: number;
  mass: number;
}

/** The lines to draw, and what cannot be drawn because a token has no place. */
export function linesOf(source: Source, links: LinksAnswer): Lines {
  const cells = new Map<number, Cell>();
  source.tokens.patches.forEach((token, i) => cells.set(token, [Math.floor(i / source.frame.grid[1]), i % source.frame.grid[1]]));
  const out: Lines = { between: [], elsewhere: 0, elsewhereMass: 0, mass: 0 };
  const heaviest = links.weights[0] || 1;
  for (let i = 0; i < links.weights.length; i++) {
    const weight = links.weights[i]!;
    out.mass += weight;
    const from = cells.get(links.queries[i]!);
    const to = cells.get(links.keys[i]!);
    if (!from || !to) {
      out.elsewhere++;
      out.elsewhereMass += weight;
      continue;
    }
    const [y0, x0] = centreOf(source.frame, from);
    const [y1, x1] = centreOf(source.frame, to);
    out.between.push({ y0, x0, y1, x1, weight, strength: weight / heaviest });
  }
  return out;
}

/** Draws lines, faint first; the end with the dot is what is looked at. A patch that looks at itself is a ring. */
export function drawLines(context: CanvasRenderingContext2D, lines: Lines, scale: number, width: number): void {
  context.lineCap = "round";
  for (const [colour, extra] of [["rgba(0,0,0,0.55)", 1.6], ["#ffffff", 0]] as const)
    for (let i = lines.between.length - 1; i >= 0; i--) {
      const line = lines.between[i]!;
      context.globalAlpha = 0.15 + 0.8 * line.strength;
      context.strokeStyle = colour;
      context.fillStyle = colour;
      context.lineWidth = width * (0.6 + 1.6 * line.strength) + extra;
      context.beginPath();
      const [x0, y0, x1, y1] = [line.x0 * scale, line.y0 * scale, line.x1 * scale, line.y1 * scale];
      if (x0 === x1 && y0 === y1) {
        context.arc(x0, y0, 3 * width, 0, 2 * Math.PI);
        context.stroke();
        continue;
      }
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
      context.beginPath();
      context.arc(x1, y1, width * 1.6 + extra / 2, 0, 2 * Math.PI);
      context.fill();
    }
  context.globalAlpha = 1;
}
