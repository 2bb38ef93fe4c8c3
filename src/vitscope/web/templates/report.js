"use strict";
/* Makes the report answer to the pointer and the keys. Without it every picture is there already. */

/* A packed view (see views/view.py): JSON header, then buffers aligned to 64 bytes. */
function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const header = new DataView(bytes.buffer);
  const start = 16 + header.getUint32(12, true);
  const view = JSON.parse(new TextDecoder().decode(bytes.subarray(16, start)));
  const arrays = {};
  for (const a of view.arrays) {
    const type = { f4: Float32Array, u1: Uint8Array }[a.dtype];
    arrays[a.name] = new type(bytes.buffer, start + a.offset, a.nbytes / type.BYTES_PER_ELEMENT);
  }
  return { ...view, arrays };
}

/* The patch under a point of the photo (as displayed) or of the model input; null outside what was seen. */
function cellAt(frame, space, x, y) {
  const cell = [];
  for (const [axis, at] of [[0, y], [1, x]]) {
    const u = space === "photo" ? at * frame.scale[axis] + frame.offset[axis] : at;
    const inPhoto = space === "photo" ? at : (at - frame.offset[axis]) / frame.scale[axis];
    if (inPhoto < frame.covered[axis] || inPhoto > frame.covered[axis + 2]) return null;
    const g = Math.floor((u - frame.origin[axis] - frame.patch[axis] / 2) / frame.stride[axis] + 0.5);
    cell.push(Math.min(Math.max(g, 0), frame.grid[axis] - 1));
  }
  return cell;
}

/* The box of a patch, cut to the photo, in the coordinates of a picture. */
function boxOf(frame, space, cell) {
  const box = [];
  for (const axis of [0, 1]) {
    const low = frame.origin[axis] + cell[axis] * frame.stride[axis];
    const ends = [low, low + frame.patch[axis]];
    const toPhoto = (u) => (u - frame.offset[axis]) / frame.scale[axis];
    const clip = (v) => Math.min(Math.max(v, 0), space === "photo" ? frame.photo_size[axis] : frame.input_size[axis]);
    box.push(ends.map((u) => clip(space === "photo" ? toPhoto(u) : u)));
  }
  return box;
}

const digits = (v) => (Number.isFinite(v) ? String(Number(v.toPrecision(6))).replace("-", "−") : Number.isNaN(v) ? "undefined" : v > 0 ? "∞" : "−∞");

/* Raw value, rank among the patches, and size against an even spread. */
function reading(values, index, panel) {
  const v = values[index];
  const place = `row ${Math.floor(index / panel.columns)}, column ${index % panel.columns}`;
  if (Number.isNaN(v)) return `${place} · undefined`;
  const rank = 1 + values.reduce((n, other) => n + (other > v ? 1 : 0), 0);
  const parts = [place, digits(v), `rank ${rank} of ${values.length}`];
  if (panel.facts.uniform) parts.push(`${Number((v / panel.facts.uniform).toPrecision(3))} × uniform`);
  return parts.join(" · ");
}

class Photo {
  constructor(article) {
    this.article = article;
    this.view = unpack(article.querySelector("[data-view]").textContent);
    this.frame = this.view.meta.frame;
    this.cell = null;
    this.maps = [...article.querySelectorAll("[data-map]")].map((element) => this.mapOf(element));
    for (const svg of article.querySelectorAll("svg[data-space]")) this.listen(svg);
    this.controls();
  }

  mapOf(element) {
    const panel = this.view.panels.find((p) => p.name === element.dataset.map);
    panel.columns = this.frame.grid[1];
    return {
      panel,
      values: this.view.arrays[panel.name + "/grid"],
      read: element.querySelector("[data-read]"),
      mark: element.querySelector("[data-scale] .mark"),
    };
  }

  listen(svg) {
    const at = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      this.show(cellAt(this.frame, svg.dataset.space, point.x, point.y));
    };
    svg.addEventListener("pointermove", at);
    svg.addEventListener("pointerdown", at);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.show(null); });
    svg.addEventListener("blur", () => this.show(null));
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key === "Escape") return this.show(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    const middle = this.frame.grid.map((n) => Math.floor(n / 2));
    const next = this.cell ? this.cell.map((n, axis) => n + moves[event.key][axis]) : middle;
    this.show(next.map((n, axis) => Math.min(Math.max(n, 0), this.frame.grid[axis] - 1)));
  }

  show(cell) {
    this.cell = cell;
    for (const rect of this.article.querySelectorAll("[data-cell]")) {
      rect.toggleAttribute("hidden", cell === null);
      if (cell === null) continue;
      const [[y0, y1], [x0, x1]] = boxOf(this.frame, rect.ownerSVGElement.dataset.space, cell);
      const size = { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0) };
      for (const [name, value] of Object.entries(size)) rect.setAttribute(name, value);
    }
    for (const map of this.maps) this.read(map);
  }

  read(map) {
    const { panel, values, read, mark } = map;
    mark.hidden = this.cell === null;
    if (this.cell === null) { read.textContent = read.dataset.rest; return; }
    const index = this.cell[0] * panel.columns + this.cell[1];
    const [low, high] = panel.limits;
    const share = (values[index] - low) / (high - low);
    read.textContent = reading(values, index, panel);
    mark.hidden = !Number.isFinite(share);
    mark.style.left = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  }

  /* The layers on one scale (as printed) or each on its own. */
  scaleLayers(own) {
    this.article.querySelector("[data-own-scales]").hidden = !own;
    for (const scale of this.article.querySelectorAll(".layers .scale")) scale.classList.toggle("off", own);
    for (const img of this.article.querySelectorAll("[data-layer]")) {
      img.dataset.shared ??= img.src;
      img.src = own ? this.layerOnOwnScale(...img.dataset.layer.split(":")) : img.dataset.shared;
    }
  }

  layerOnOwnScale(name, layer) {
    const [rows, columns] = this.frame.grid;
    const panel = this.view.panels.find((p) => p.name === name);
    const palette = this.view.arrays["palette/" + panel.facts.layers_colours];
    const steps = this.view.arrays[name + "/steps"].subarray(layer * rows * columns, (Number(layer) + 1) * rows * columns);
    const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const pixels = new ImageData(columns, rows);
    steps.forEach((step, i) => pixels.data.set(palette.subarray(4 * step, 4 * step + 4), 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  controls() {
    for (const radio of this.article.querySelectorAll("[data-layer-scale]"))
      radio.addEventListener("change", () => this.scaleLayers(radio.value === "own"));
    const slider = this.article.querySelector("[data-strength]");
    if (!slider) return;
    slider.addEventListener("input", () => {
      this.article.style.setProperty("--strength", slider.value / 100);
      slider.nextElementSibling.textContent = `${slider.value} %`;
    });
    for (const radio of this.article.querySelectorAll("[data-patches]"))
      radio.addEventListener("change", () => this.article.classList.toggle("true-patches", radio.value === "patches"));
  }
}

for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
for (const article of document.querySelectorAll("[data-photo]")) new Photo(article);
for (const radio of document.querySelectorAll("[name=theme]"))
  radio.addEventListener("change", () => { document.documentElement.dataset.theme = radio.value; });
