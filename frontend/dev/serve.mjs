/* The built view on synthetic data: `node dev/serve.mjs [port]`, then open /b16/, /l14/, /wide/, /b16/file.html (data embedded), /wide/file.html (head means only). */
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { halves, MODELS, pack, photo, rowOf, rowsOf, signedMap, sourceOf, stored, tokenOf } from "./mock.mjs";

const STATIC = new URL("../../src/vitscope/web/static/", import.meta.url);
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'";
const FILE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";
const asset = (name) => readFileSync(new URL(name, STATIC));
const uploads = [];

const catalogueOf = (name) => ({
  format: 1,
  sources: [
    sourceOf(name, MODELS[name], "api/picture?source=0"),
    sourceOf("other", MODELS[name], "api/picture?source=0", { photo: "other.jpg" }),
    sourceOf("wide", MODELS.wide, "api/picture?source=2"),
    ...uploads.map((photo) => sourceOf(name, MODELS[name], "api/picture?source=0", { photo })),
  ],
  models: [{ id: "a", name: "synthetic a" }, { id: "b", name: "synthetic b" }],
  capabilities: { live: true, upload: true, why: "", precision: "float16, exact within 0.05 %", limits: { upload_bytes: 20e6, pixels: 5e7 } },
});
const modelAt = (name, source) => (source === 2 ? MODELS.wide : MODELS[name]);
const framed = (block) => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(block.length);
  return Buffer.concat([length, block]);
};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const page = (title, head, body) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>${title}</title><link rel="icon" href="data:,">${head}</head><body><main>${body}</main></body></html>`;

function filePage(name) {
  const model = MODELS[name];
  const { facts, packed } = stored(model, name === "b16");
  const source = sourceOf(name, model, `data:image/png;base64,${photo(model.photo).toString("base64")}`, { stored: facts });
  const catalogue = { format: 1, sources: [source], models: [], capabilities: { live: false, upload: false, why: "this is a file: only what it carries can be shown; `vitscope serve` computes the rest", precision: facts.precision } };
  return page(
    name,
    `<meta http-equiv="Content-Security-Policy" content="${FILE_POLICY}"><style>${asset("view.css")}</style>`,
    `<div data-vitscope-view data-host="file"></div><script type="application/json" data-catalogue>${JSON.stringify(catalogue).replaceAll("<", "\\u003c")}</script><script type="application/octet-stream" data-explore>${packed}</script><script>${asset("view.js")}</script>`,
  );
}

async function api(name, op, args, request, response) {
  const model = modelAt(name, Number(args.get("source") ?? 0));
  const n = model.named.length + model.grid[0] * model.grid[1];
  const head = { "content-type": "application/octet-stream" };
  if (op === "catalogue") return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(catalogueOf(name)));
  if (op === "picture") return response.writeHead(200, { "content-type": "image/png" }).end(photo(model.photo));
  if (op === "rows") return response.writeHead(200, head).end(framed(pack({ rows: ["f2", [model.layers * model.heads, n], halves(rowsOf(model, args.get("query")))] }, { query: args.get("query"), precision: "float16, exact within 0.05 %" })));
  if (op === "map") return map(model, n, args, request, response.writeHead(200, head));
  if (op === "links") return response.writeHead(200, head).end(framed(links(model, n, args)));
  if (op === "upload") {
    for await (const _ of request);
    uploads.push(args.get("name"));
    const catalogue = catalogueOf(name);
    return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ source: catalogue.sources.length - 1, catalogue }));
  }
  response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify({ error: `no ${op}` }));
}

async function map(model, n, args, request, response) {
  const method = args.get("method");
  const target = args.get("target") ?? "tabby cat";
  const meta = { method, title: method, unit: "score points", signed: false, notes: [], target: "", against: args.get("against") ?? "", hidden: { cls: 0.21 }, uniform: null };
  if (method !== "rollout") return response.end(framed(pack({ values: ["f4", [n], method === "relevance" ? signedMap(model, target).map(Math.abs) : signedMap(model, target)] }, { ...meta, title: method === "relevance" ? "Relevance" : "Integrated gradients", signed: method !== "relevance", target })));
  let gone = false;
  request.on("close", () => (gone = true));
  const exact = new Float32Array(n);
  for (let l = 0; l < model.layers; l++) rowOf(model, l, 0, tokenOf(model, args.get("query") ?? "pooled")).forEach((v, k) => (exact[k] += v / model.layers));
  for (let part = 1; part <= 5 && !gone; part++) {
    const rough = exact.map((v, k) => v * (1 + (part < 5 ? (0.8 / part) * Math.sin(k * 3.7) : 0)));
    response.write(framed(pack({ values: ["f4", [n], rough], error: ["f4", [n], exact.map((v) => (part < 5 ? v / part / 3 : 0))] }, { ...meta, title: "Rollout", unit: "share of rolled-out attention (sums to 1)", uniform: 1 / n, progress: { done: part === 5, cells: n, draws: part * 64, l1: part === 5 ? 0 : 0.5 / part, share: part / 5 } })));
    await wait(400);
  }
  response.end();
}

function links(model, n, args) {
  const found = [];
  let mass = 0;
  const head = args.get("head") === "mean" ? 0 : Number(args.get("head"));
  for (let q = 0; q < n; q++) rowOf(model, Number(args.get("layer")), head || 0, q).forEach((w, k) => { mass += w; found.push([q, k, w]); });
  found.sort((a, b) => b[2] - a[2]);
  const above = args.get("above");
  const all = above === null ? found.slice(0, Number(args.get("k"))) : found.filter((link) => link[2] > Number(above));
  const kept = all.slice(0, 5000);
  const sum = kept.reduce((total, link) => total + link[2], 0);
  return pack({ queries: ["i4", [kept.length], Int32Array.from(kept, (l) => l[0])], keys: ["i4", [kept.length], Int32Array.from(kept, (l) => l[1])], weights: ["f4", [kept.length], Float32Array.from(kept, (l) => l[2])] }, { left_out: 1 - sum / mass, total: all.length });
}

const server = createServer(async (request, response) => {
  const address = new URL(request.url, "http://localhost");
  const [, name, ...rest] = address.pathname.split("/");
  const path = rest.join("/");
  if (!(name in MODELS)) return response.writeHead(404).end();
  if (path === "file.html") return response.writeHead(200, { "content-type": "text/html" }).end(filePage(name));
  if (path === "view.js" || path === "view.css" || path === "page.css") {
    const body = path === "page.css" ? ":root{color-scheme:light dark}:root[data-theme=light]{color-scheme:light}:root[data-theme=dark]{color-scheme:dark}body{margin:0;background:light-dark(#f7f7f5,#121315)}" : asset(path);
    return response.writeHead(200, { "content-type": path.endsWith("js") ? "text/javascript" : "text/css" }).end(body);
  }
  if (path.startsWith("api/")) return api(name, path.slice(4), address.searchParams, request, response);
  response.writeHead(200, { "content-type": "text/html", "content-security-policy": POLICY }).end(page(name, '<link rel="stylesheet" href="page.css"><link rel="stylesheet" href="view.css"><script src="view.js" defer></script>', '<div id="vitscope-view" data-host="http"></div>'));
});
server.listen(Number(process.argv[2] ?? 8199), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/b16/`));
