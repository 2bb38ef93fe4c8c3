/* From stored positions (0..65535) to the projected plane (0..1, v upwards) and on to pixels; 2-D, or 3-D turned and seen without perspective. */
import { LEAST_ZOOM, MOST_ZOOM, type Camera, type Quaternion } from "../core/clouds";

export const FULL = 65535;
/** Share of the shorter side that the whole map takes at zoom 1; a cube turned to any side stays in sight. */
const FIT = { 2: 0.92, 3: 0.62 };
/** Half the diagonal of the cube: the largest |depth|. */
export const DEEP = Math.sqrt(3) / 2;

/** A linear form of a position: `a·X + b·Y + c·Z + d`. */
export type Form = [number, number, number, number];

/** The projected plane: across, up, and (3-D) towards the viewer. */
export interface Plane {
  dims: 2 | 3;
  u: Form;
  v: Form;
  depth: Form;
}

/** Pixels of a form: x to the right, y downwards. */
export interface View {
  plane: Plane;
  x: Form;
  y: Form;
  width: number;
  height: number;
  /** Pixels for one unit of the plane. */
  scale: number;
}

/** Rows of the rotation matrix of a quaternion (x, y, z, w), normalised. */
export function rotation(turn: Quaternion): [number, number, number][] {
  const length = Math.hypot(...turn);
  const [x, y, z, w] = turn.map((part) => part / length) as Quaternion;
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
  ];
}

/** The plane a map is projected on. */
export function planeOf(dims: 2 | 3, turn: Quaternion): Plane {
  if (dims === 2) return { dims, u: [1 / FULL, 0, 0, 0], v: [0, 1 / FULL, 0, 0], depth: [0, 0, 0, 0] };
  const form = ([a, b, c]: [number, number, number], middle: number): Form => [a / FULL, b / FULL, c / FULL, middle - (a + b + c) / 2];
  const [right, up, near] = rotation(turn) as [[number, number, number], [number, number, number], [number, number, number]];
  return { dims, u: form(right, 0.5), v: form(up, 0.5), depth: form(near, 0) };
}

/** Pixels of a plane seen by a camera. */
export function viewOf(plane: Plane, camera: Camera, width: number, height: number): View {
  const scale = FIT[plane.dims] * Math.min(width, height) * camera.zoom;
  const [x0, y0] = [width / 2 - camera.x * scale, height / 2 + camera.y * scale];
  const form = (of: Form, sign: number, from: number): Form => [sign * scale * of[0], sign * scale * of[1], sign * scale * of[2], sign * scale * of[3] + from];
  return { plane, x: form(plane.u, 1, x0), y: form(plane.v, -1, y0), width, height, scale };
}

/** A form's value at a position. */
export const at = (form: Form, data: Uint16Array, dims: number, row: number): number =>
  form[0] * data[row * dims]! + form[1] * data[row * dims + 1]! + (dims === 3 ? form[2] * data[row * dims + 2]! : 0) + form[3];

/** Pixels of a point of the plane. */
export const pixelOf = (camera: Camera, view: View, u: number, v: number): [number, number] => [
  view.width / 2 + (u - camera.x) * view.scale,
  view.height / 2 - (v - camera.y) * view.scale,
];

/** The point of the plane under a pixel. */
export const planeAt = (camera: Camera, view: View, x: number, y: number): [number, number] => [
  camera.x + (x - view.width / 2) / view.scale,
  camera.y - (y - view.height / 2) / view.scale,
];

/** Moved by pixels. */
export const panned = (camera: Camera, view: View, dx: number, dy: number): Camera => ({ ...camera, x: camera.x - dx / view.scale, y: camera.y + dy / view.scale });

/** Zoomed so that what is under a pixel stays there. */
export function zoomed(camera: Camera, view: View, factor: number, x: number, y: number): Camera {
  const zoom = Math.min(Math.max(camera.zoom * factor, LEAST_ZOOM), MOST_ZOOM);
  const [u, v] = planeAt(camera, view, x, y);
  const kept = camera.zoom / zoom;
  return { ...camera, zoom, x: u + (camera.x - u) * kept, y: v + (camera.y - v) * kept };
}

function times(a: Quaternion, b: Quaternion): Quaternion {
  return [
    a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
    a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
    a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
    a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
  ];
}

/** Turned as if the pointer held the front of the ball: `dx` to the right, `dy` downwards, in shares of the view's shorter side. */
export function turned(camera: Camera, dx: number, dy: number): Camera {
  const angle = Math.PI * Math.hypot(dx, dy);
  if (angle === 0) return camera;
  const sine = Math.sin(angle / 2) / Math.hypot(dx, dy);
  const next = times([dy * sine, dx * sine, 0, Math.cos(angle / 2)], camera.turn);
  const length = Math.hypot(...next);
  return { ...camera, turn: next.map((part) => part / length) as Quaternion };
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

/** As it stands in the address: short, and what is drawn is drawn from exactly these numbers. */
export const shortCamera = (camera: Camera): Camera => ({
  x: rounded(camera.x, 6),
  y: rounded(camera.y, 6),
  zoom: Number(camera.zoom.toPrecision(5)),
  turn: camera.turn.map((part) => rounded(part, 5)) as Quaternion,
});
