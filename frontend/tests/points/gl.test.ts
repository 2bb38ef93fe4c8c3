/* What the graphics card is told, against the projection itself; the picture is compared in a browser. */
import { describe, expect, test } from "vitest";
import type { Camera, Quaternion } from "../../src/core/clouds";
import { isHardware, matrixOf, middleOf } from "../../src/points/gl";
import { at, planeOf, viewOf } from "../../src/points/project";
import { positions } from "./made";

const TURN: Quaternion = [0.21, -0.4, 0.13, 0.86];
const CAMERA: Camera = { x: 0.45, y: 0.57, zoom: 1.4, turn: TURN };

describe("which renderer is hardware", () => {
  test.each([
    "ANGLE (Intel, Mesa Intel(R) UHD Graphics 620 (KBL GT2), OpenGL 4.6)",
    "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0, D3D11)",
    "ANGLE (Apple, ANGLE Metal Renderer: Apple M2, Unspecified Version)",
    "Apple GPU",
    "Mali-G78",
    "Radeon R9 200 Series, or similar",
  ])("%s is", (name) => expect(isHardware(name)).toBe(true));
  test.each([
    "ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)",
    "Google SwiftShader",
    "llvmpipe (LLVM 15.0.7, 256 bits)",
    "Mesa softpipe",
    "ANGLE (Microsoft, Microsoft Basic Render Driver Direct3D11 vs_5_0 ps_5_0, D3D11)",
    "Apple Software Renderer",
    "WebKit WebGL",
    "Mozilla",
    " ",
  ])("%s is not", (name) => expect(isHardware(name)).toBe(false));
});

describe.each([2, 3] as const)("the matrix of %i axes", (dims) => {
  const data = positions(500, dims, 3);
  const viewAt = (zoom: number) => viewOf(planeOf(dims, TURN), { ...CAMERA, zoom }, 960, 700);
  const seen = (matrix: number[], place: number[], row: number) => place.reduce((sum, part, axis) => sum + matrix[4 * axis + row]! * part, matrix[12 + row]!);

  test.each([0.1, 1.4, 1000])("is the projection, in float64, at zoom %d", (zoom) => {
    const view = viewAt(zoom);
    const middle = middleOf(view);
    const matrix = matrixOf(view, middle);
    for (let i = 0; i < 500; i++) {
      const place = [0, 1, 2].map((axis) => (axis < dims ? data[i * dims + axis]! : 0) - middle[axis]!);
      [view.x, view.y, view.plane.depth].forEach((form, row) => expect(seen(matrix, place, row)).toBeCloseTo(at(form, data, dims, i), 8));
    }
  });
  test("near the middle of a view, single precision errs by less than a hundredth of a pixel even at zoom 1000", () => {
    const view = viewAt(1000);
    const middle = middleOf(view);
    const matrix = matrixOf(view, middle);
    const single = Array.from(Float32Array.from(matrix));
    for (const step of [-3, -1, 0, 2]) {
      const place = [step, 1 - step, dims === 3 ? step : -middle[2]];
      const rounded = (row: number) => place.reduce((sum, part, axis) => Math.fround(sum + Math.fround(single[4 * axis + row]! * part)), single[12 + row]!);
      for (const row of [0, 1]) expect(Math.abs(rounded(row) - seen(matrix, place, row))).toBeLessThan(0.01);
    }
    expect([seen(matrix, [0, 0, 0], 0) - 480, seen(matrix, [0, 0, 0], 1) - 350].every((far) => Math.abs(far) < 15)).toBe(true);
  });
});
