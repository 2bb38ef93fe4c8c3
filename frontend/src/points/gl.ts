/* Points painted by the graphics card, pixel for pixel as `splat.ts` paints them. It draws on a canvas of its own that is copied onto the one seen: losing it takes nothing away. */
import { FADED, FOGS, NOT_DRAWN } from "./colours";
import { DEEP, FULL, type Form, type View } from "./project";
import type { Points, Stamp } from "./splat";

export interface Picture {
  points: Points;
  view: View;
  stamp: Stamp;
  palette: Uint32Array;
  /** A pixel, as in the palette. */
  ground: number;
  selection: boolean;
}

/** Pixels around the picture: a point is cut off by its middle, so the card is given more room than is seen. */
const MARGIN = 32;

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
layout(location = 0) in vec3 place;
layout(location = 1) in uint ink;
uniform mat4 form;
uniform vec3 middle;
uniform vec2 room;
uniform float size;
uniform float steps;
uniform uvec2 inks;
uniform highp sampler2D palette;
flat out vec3 colour;
void main() {
  gl_PointSize = size;
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (ink < inks.x || ink >= inks.y) return;
  vec3 seen = (form * vec4(place - middle, 1.0)).xyz;
  vec2 centre = floor(seen.xy - (size - 1.0) / 2.0) + size / 2.0;
  vec2 unit = 2.0 * (centre + ${MARGIN}.0) / (room + ${2 * MARGIN}.0) - 1.0;
  gl_Position = vec4(unit.x, -unit.y, -seen.z, 1.0);
  int fog = clamp(int((${DEEP} - seen.z) * steps), 0, ${FOGS - 1});
  colour = texelFetch(palette, ivec2(int(ink), fog), 0).rgb;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
uniform float size;
uniform highp sampler2D stamp;
uniform vec2 covers;
flat in vec3 colour;
out vec4 painted;
void main() {
  float cover = texelFetch(stamp, ivec2(min(gl_PointCoord * size, size - 1.0)), 0).r;
  if (cover < covers.x || cover > covers.y) discard;
  painted = vec4(colour, cover);
}`;

/** Whether a renderer's name is that of a real card; one that hides its name is not known to be one. */
export function isHardware(renderer: string): boolean {
  const name = renderer.trim();
  return name !== "" && !/^(webkit webgl|mozilla)$/i.test(name) && !/swiftshader|llvmpipe|lavapipe|softpipe|swrast|software|basic render|\bwarp\b/i.test(name);
}

/** The stored position, in whole steps, that lies in the middle of a view: what is near it keeps its digits in single precision. */
export function middleOf({ x, y, width, height }: View): [number, number, number] {
  const half = FULL / 2;
  const [dx, dy] = [width / 2 - valueOf(x, [half, half, half]), height / 2 - valueOf(y, [half, half, half])];
  const long = x[0] ** 2 + x[1] ** 2 + x[2] ** 2;
  return [0, 1, 2].map((axis) => Math.round(half + (x[axis]! * dx + y[axis]! * dy) / long)) as [number, number, number];
}

/** By columns: from a stored position less `middle` to pixels across and down, and depth. */
export function matrixOf({ x, y, plane }: View, middle: [number, number, number]): number[] {
  const rows = [x, y, plane.depth];
  const columns = [0, 1, 2].map((axis) => [...rows.map((row) => row[axis]!), 0]);
  return [...columns.flat(), ...rows.map((row) => valueOf(row, middle)), 1];
}

const valueOf = (form: Form, [a, b, c]: [number, number, number]): number => form[0] * a + form[1] * b + form[2] * c + form[3];

/** The card; null where there is none, or where software plays one (`forced` takes that too). Throws where it cannot do what is needed. */
export function cardOf(forced: boolean, lost: () => void): Card | null {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, failIfMajorPerformanceCaveat: !forced });
  if (!gl || !(forced || isHardware(rendererOf(gl)))) return null;
  const card = new Card(canvas, gl);
  canvas.addEventListener("webglcontextlost", lost);
  return card;
}

function rendererOf(gl: WebGL2RenderingContext): string {
  const name = String(gl.getParameter(gl.RENDERER) ?? "");
  const unmasked = name === "WebKit WebGL" ? gl.getExtension("WEBGL_debug_renderer_info") : null; // elsewhere asking for it is a warning in the console
  return unmasked ? String(gl.getParameter(unmasked.UNMASKED_RENDERER_WEBGL) ?? "") : name;
}

export class Card {
  private readonly at: (name: string) => WebGLUniformLocation;
  private readonly buffers: WebGLBuffer[];
  /** What lies on the card already, by where. */
  private readonly held = new Map<string, unknown>();

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGL2RenderingContext,
  ) {
    const program = programOf(gl);
    const places = new Map<string, WebGLUniformLocation>();
    this.at = (name) => places.get(name) ?? (places.set(name, gl.getUniformLocation(program, name)!), places.get(name)!);
    this.buffers = [gl.createBuffer()!, gl.createBuffer()!];
    gl.useProgram(program);
    ["palette", "stamp"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      gl.uniform1i(this.at(name), unit);
    });
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.depthFunc(gl.LEQUAL);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.enable(gl.BLEND);
  }

  /** Paints every point on the card's canvas. Throws where the card fails. */
  paint(picture: Picture): void {
    const { gl, canvas } = this;
    const { width, height, plane } = picture.view;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    if (gl.drawingBufferWidth !== width || gl.drawingBufferHeight !== height || picture.stamp.size > gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)[1]) throw new Error("its limits are too small");
    this.upload(picture);
    this.aim(picture);
    const clear = [0, 8, 16].map((shift) => ((picture.ground >>> shift) & 255) / 255) as [number, number, number];
    gl.clearColor(...clear, 1);
    gl.depthMask(true);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (plane.dims === 3) gl.enable(gl.DEPTH_TEST);
    else gl.disable(gl.DEPTH_TEST);
    for (const [least, most] of picture.selection ? [[FADED, NOT_DRAWN], [0, FADED]] : [[0, NOT_DRAWN]]) this.layer(picture, least!, most!);
    if (gl.isContextLost()) throw new Error("its context was lost");
  }

  /** One layer, in 3-D whole pixels first: their depth hides the edges behind them. */
  private layer({ points, view, stamp }: Picture, least: number, most: number): void {
    const { gl } = this;
    const draw = (low: number, high: number, deep: boolean) => {
      gl.depthMask(deep);
      gl.uniform2f(this.at("covers"), low, high);
      gl.drawArrays(gl.POINTS, 0, points.ink.length);
    };
    gl.uniform2ui(this.at("inks"), least, most);
    if (view.plane.dims === 2) return draw(0.5 / 255, 1, false);
    gl.depthMask(true);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    draw(254.5 / 255, 1, true);
    if (stamp.size > 2) draw(0.5 / 255, 254.5 / 255, false);
  }

  private upload({ points, view, stamp, palette }: Picture): void {
    const { gl } = this;
    const place = this.fresh("places", points.data) && this.fill(0, points.data, () => gl.vertexAttribPointer(0, view.plane.dims, gl.UNSIGNED_SHORT, false, 0, 0));
    const ink = this.fresh("ink", points.ink) && this.fill(1, points.ink, () => gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_SHORT, 0, 0));
    if (this.fresh("palette", palette)) this.texture(0, gl.RGBA8, 512, FOGS, gl.RGBA, new Uint8Array(palette.buffer));
    if (this.fresh("stamp", stamp)) this.texture(1, gl.R8, stamp.size, stamp.size, gl.RED, stamp.cover);
    if ((place || ink) && gl.getError() !== gl.NO_ERROR) throw new Error("it has no room for the points");
  }

  private fresh(name: string, what: unknown): boolean {
    if (this.held.get(name) === what) return false;
    this.held.set(name, what);
    return true;
  }

  private fill(location: number, data: Uint16Array, point: () => void): true {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[location]!);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    point();
    return true;
  }

  private texture(unit: number, inside: number, width: number, height: number, format: number, data: Uint8Array): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.texImage2D(gl.TEXTURE_2D, 0, inside, width, height, 0, format, gl.UNSIGNED_BYTE, data);
  }

  private aim({ view, stamp }: Picture): void {
    const { gl } = this;
    const middle = middleOf(view);
    gl.viewport(-MARGIN, -MARGIN, view.width + 2 * MARGIN, view.height + 2 * MARGIN);
    gl.uniformMatrix4fv(this.at("form"), false, matrixOf(view, middle));
    gl.uniform3fv(this.at("middle"), middle);
    gl.uniform2f(this.at("room"), view.width, view.height);
    gl.uniform1f(this.at("size"), stamp.size);
    gl.uniform1f(this.at("steps"), view.plane.dims === 3 ? FOGS / (2 * DEEP) : 0);
  }

  /** Gives back what takes room on the card. */
  end(): void {
    for (const buffer of this.buffers) this.gl.deleteBuffer(buffer);
    this.canvas.width = this.canvas.height = 1;
  }
}

function programOf(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("its program does not compile");
  return program;
}
