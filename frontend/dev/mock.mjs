/* Synthetic models and attention, so that the view can be looked at without Python: node dev/serve.mjs */
import * as zlib from "node:zlib";

const { deflateRawSync, deflateSync, crc32: zlibCrc } = zlib;

const LABELS = ["tabby cat", "tiger cat", "Egyptian cat", "lynx", "beagle", "Labrador retriever", "golden retriever", "sorrel horse", "zebra", "hammerhead shark"];
const labels = (count) => Array.from({ length: count }, (_, i) => LABELS[i] ?? `class ${i}, a name of some length`);

export const MODELS = {
  b16: { grid: [14, 14], layers: 12, heads: 12, named: ["cls"], photo: [480, 640], crop: true, labels: 1000 },
  l14: { grid: [37, 37], layers: 24, heads: 16, named: ["cls", "register 0", "register 1", "register 2", "register 3"], photo: [518, 518], crop: false, labels: 1000 },
  wide: { grid: [12, 24], layers: 6, heads: 6, named: ["cls"], photo: [420, 900], crop: false, pad: 2, labels: 10 },
};

const noise = (i) => {
  const x = Math.sin(i * 12.9898) * 43758.5453;
  return x - Math.floor(x);
};

function frameOf(model) {
  const [gh, gw] = model.grid;
  const patch = 16;
  const input = [gh * patch, gw * patch];
  const [H, W] = model.photo;
  if (model.crop) {
    const scale = input[0] / H;
    const x0 = (W - input[1] / scale) / 2;
    return { photo_size: [H, W], input_size: input, scale: [scale, scale], offset: [0, -x0 * scale], seen: [0, x0, H, W - x0], covered: [0, x0, H, W - x0], grid: [gh, gw], patch: [patch, patch], stride: [patch, patch], origin: [0, 0] };
  }
  const padded = (model.pad ?? 0) * patch;
  const scale = [(input[0] - padded) / H, input[1] / W];
  return { photo_size: [H, W], input_size: input, scale, offset: [0, 0], seen: [0, 0, H, W], covered: [0, 0, H, W], grid: [gh, gw], patch: [patch, patch], stride: [patch, patch], origin: [0, 0] };
}

export function sourceOf(name, model, picture, extra = {}) {
  const [gh, gw] = model.grid;
  const prefix = model.named.length;
  const n = prefix + gh * gw;
  const padded = [];
  for (let r = gh - (model.pad ?? 0); r < gh; r++) for (let c = 0; c < gw; c++) padded.push([r, c]);
  const method = (name, title, options, more = {}) => ({ name, title, available: true, why: "", class_specific: false, signed: false, options, shows: `What ${title} shows, in one plain sentence.`, does_not_show: "Not what mattered for the answer: it is the same for every class.", source: "", progressive: false, ...more });
  return {
    photo: `${name}.jpg`, model: `synthetic:${name}`, weights: "3f9a01c2", picture,
    frame: frameOf(model), padded,
    tokens: { n, patches: Array.from({ length: gh * gw }, (_, i) => prefix + i), named: model.named.map((id, token) => ({ id, name: id === "cls" ? "CLS" : id, kind: id === "cls" ? "cls" : "register", token })) },
    pooled: { name: "cls" },
    layers: Array.from({ length: model.layers }, (_, i) => ({ path: `blocks.${i}.attn`, heads: model.heads, kind: "softmax" })),
    top: [["tabby cat", 0.6213], ["tiger cat", 0.2204], ["Egyptian cat", 0.0911], ["lynx", 0.0132], ["beagle", 0.0004]],
    labels: labels(model.labels),
    methods: [
      method("attention", "Attention", ["layer", "head", "query"]),
      method("rollout", "Rollout", ["fuse", "residual", "discard", "query"], { progressive: true }),
      method("relevance", "Relevance", ["target", "against"], { class_specific: true }),
      method("integrated-gradients", "Integrated gradients", ["target", "against"], { class_specific: true, signed: true }),
      method("grad-cam", "Grad-CAM", ["layer", "target"], { available: false, why: "this model has no such layer", class_specific: true }),
    ],
    sinks: [{ token: 0, received: 31 }, { token: prefix + 3 * gw + 2, received: 12.4 }],
    notes: [], size_note: `${gh} rows of ${gw} patches, ${n} tokens`, ...extra,
  };
}

/** float64 `[n]`: the attention row of a token in one head of one layer; sums to 1. */
export function rowOf(model, layer, head, token) {
  const [gh, gw] = model.grid;
  const prefix = model.named.length;
  const n = prefix + gh * gw;
  const row = new Float64Array(n);
  const at = token - prefix;
  const [r, c] = at >= 0 ? [Math.floor(at / gw), at % gw] : [gh * 0.45, gw * 0.5];
  const seed = layer * 131 + head * 17;
  const [dr, dc] = [(noise(seed) - 0.5) * gh * 0.5, (noise(seed + 1) - 0.5) * gw * 0.5];
  const spread = 0.6 + 3.5 * noise(seed + 2) * (1 + layer / model.layers);
  const content = noise(seed + 3) * layer / model.layers;
  let total = 0;
  for (let i = 0; i < n; i++) {
    if (i < prefix) row[i] = (0.2 + noise(seed + 7 + i)) * (i === 0 ? 4 : 1);
    else {
      const [y, x] = [Math.floor((i - prefix) / gw), (i - prefix) % gw];
      const d2 = ((y - r - dr) ** 2 + (x - c - dc) ** 2) / (2 * spread * spread);
      const blob = Math.exp(-((y - gh * 0.5) ** 2 / (gh * 0.9) + (x - gw * 0.55) ** 2 / (gw * 1.2)));
      row[i] = Math.exp(-d2) + content * 1.6 * blob + 0.015 * (0.5 + noise(i * 3 + seed)) + (y === 3 && x === 2 ? 0.8 * layer / model.layers : 0);
    }
    total += row[i];
  }
  return row.map((v) => v / total);
}

export function tokenOf(model, query) {
  if (query === "pooled") return 0;
  const named = model.named.indexOf(query);
  if (named >= 0) return named;
  const [r, c] = query.split(",").map(Number);
  return model.named.length + r * model.grid[1] + c;
}

export function rowsOf(model, query) {
  const n = model.named.length + model.grid[0] * model.grid[1];
  const out = new Float32Array(model.layers * model.heads * n);
  for (let l = 0, m = 0; l < model.layers; l++) for (let h = 0; h < model.heads; h++, m++) out.set(rowOf(model, l, h, tokenOf(model, query)), m * n);
  return out;
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);
export function half(value) {
  f32[0] = value;
  const bits = u32[0];
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 255) - 112;
  if (exponent <= 0) return sign | Math.round(Math.abs(value) * 2 ** 24);
  const mantissa = (bits & 0x7fffff) + 0x1000;
  return sign | ((exponent << 10) + (mantissa >>> 13));
}

/** A packed block; arrays: name -> [dtype, shape, typed array]. */
export function pack(arrays, meta = {}) {
  let offset = 0;
  const parts = [];
  const entries = Object.entries(arrays).map(([name, [dtype, shape, data]]) => {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const padding = (64 - (bytes.length % 64)) % 64;
    const entry = { name, dtype, shape, offset, nbytes: bytes.length };
    parts.push(bytes, Buffer.alloc(padding));
    offset += bytes.length + padding;
    return entry;
  });
  const json = Buffer.from(JSON.stringify({ title: "", panels: [], meta, arrays: entries }));
  const header = Buffer.concat([json, Buffer.alloc((64 - ((16 + json.length) % 64)) % 64, " ")]);
  const prelude = Buffer.alloc(16);
  prelude.write("VITSVIEW", 0, "ascii");
  prelude.writeUInt32LE(1, 8);
  prelude.writeUInt32LE(header.length, 12);
  return Buffer.concat([prelude, header, ...parts]);
}

export const halves = (values) => Uint16Array.from(values, half);

/** The stored block and facts of a file. */
export function stored(model, rows = true) {
  const [gh, gw] = model.grid;
  const n = model.named.length + gh * gw;
  const M = model.layers * model.heads;
  const arrays = { pooled: ["f4", [M, n], rowsOf(model, "pooled")] };
  const means = new Uint8Array(model.layers * n * n);
  const meansMax = new Float32Array(model.layers * n);
  const code = rows ? new Uint8Array(M * n * n) : null;
  const most = rows ? new Float32Array(M * n) : null;
  const top = rows ? new Float32Array(M * n * 2) : null;
  const topAt = rows ? new Uint16Array(M * n * 2) : null;
  for (let l = 0; l < model.layers; l++)
    for (let q = 0; q < n; q++) {
      const mean = new Float64Array(n);
      for (let h = 0; h < model.heads; h++) {
        const row = rowOf(model, l, h, q);
        row.forEach((v, k) => (mean[k] += v / model.heads));
        if (!rows) continue;
        const at = (l * model.heads + h) * n + q;
        most[at] = Math.max(...row);
        row.forEach((v, k) => (code[at * n + k] = Math.round(255 * Math.sqrt(v / most[at]))));
        const best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 2);
        best.forEach((k, i) => { top[at * 2 + i] = row[k]; topAt[at * 2 + i] = k; });
      }
      meansMax[l * n + q] = Math.max(...mean);
      mean.forEach((v, k) => (means[(l * n + q) * n + k] = Math.round(255 * Math.sqrt(v / meansMax[l * n + q]))));
    }
  arrays.means = ["u1", [model.layers, n, n], means];
  arrays.means_max = ["f4", [model.layers, n], meansMax];
  if (rows) Object.assign(arrays, { rows: ["u1", [M, n, n], code], rows_max: ["f4", [M, n], most], rows_top: ["f4", [M, n, 2], top], rows_top_at: ["u2", [M, n, 2], topAt] });
  arrays["maps/0"] = ["f4", [n], signedMap(model, "tabby cat")];
  const facts = { block: 0, rows, means: true, named: [], maps: [{ name: "integrated-gradients for tabby cat", method: "integrated-gradients", layer: null, head: "", query: "", target: "tabby cat", unit: "score points (sum over the patch)", signed: true, notes: [], array: "maps/0" }], precision: "8-bit square-root code: within 0.4 % of each row's largest value; the 2 largest exact" };
  return { facts, packed: deflateRawSync(pack(arrays)).toString("base64") };
}

export function signedMap(model, target) {
  const [gh, gw] = model.grid;
  const prefix = model.named.length;
  const seed = [...target].reduce((sum, c) => sum + c.charCodeAt(0), 0);
  return Float32Array.from({ length: prefix + gh * gw }, (_, i) => {
    const [y, x] = [Math.floor((i - prefix) / gw), (i - prefix) % gw];
    return i < prefix ? 0 : 0.4 * Math.exp(-((y - gh * 0.5) ** 2 + (x - gw * noise(seed)) ** 2) / gh) - 0.3 * Math.exp(-((y - gh * 0.3) ** 2 + (x - gw * 0.3) ** 2) / gh) + 0.03 * (noise(i + seed) - 0.5);
  });
}

/** A PNG of something photo-like. */
export function photo([height, width]) {
  const raw = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [u, v] = [x / width, y / height];
      const sky = [120 + 90 * v, 150 + 60 * v, 190 + 20 * v];
      const ground = [96 + 40 * noise(Math.floor(x / 9) + 57 * Math.floor(y / 9)), 104 + 20 * u, 70];
      const body = ((u - 0.52) / 0.2) ** 2 + ((v - 0.58) / 0.26) ** 2 < 1;
      const ear = Math.abs(u - 0.43) + Math.abs(v - 0.33) < 0.08 || Math.abs(u - 0.61) + Math.abs(v - 0.33) < 0.08;
      const fur = [188 + 30 * Math.sin(60 * u + 8 * v), 140 + 20 * Math.sin(70 * u), 92];
      const colour = body || ear ? fur : v > 0.66 + 0.03 * Math.sin(9 * u) ? ground : sky;
      raw.set(colour.map((c) => Math.max(0, Math.min(255, c))), y * (1 + 3 * width) + 1 + 3 * x);
    }
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type, "ascii"), data]);
    const out = Buffer.alloc(8);
    out.writeUInt32BE(data.length, 0);
    out.writeUInt32BE(crc(body), 4);
    return Buffer.concat([out.subarray(0, 4), body, out.subarray(4)]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", head), chunk("IDAT", deflateSync(raw)), chunk("IEND", Buffer.alloc(0))]);
}

function crc(bytes) {
  if (zlibCrc) return zlibCrc(bytes);
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let i = 0; i < 8; i++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return ~value >>> 0;
}
