/* Two builds of one front end: `--mode page` writes view.js (IIFE: the server's page and inside reports), `--mode widget` writes widget.js (ESM). */
import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const BUDGET = 350_000;

/* Inside a report the script stands in an HTML <script>: neither of these may appear in it. */
function inlinable(): Plugin {
  return {
    name: "vitscope:inlinable",
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue;
        file.code = file.code.replaceAll("<!--", "\\x3c!--").replaceAll(/<(?=\/?script)/gi, "\\x3c");
      }
    },
  };
}

/* The build fails where script and style sheet together are over budget. */
function budget(name: string): Plugin {
  return {
    name: "vitscope:budget",
    writeBundle(_options, bundle) {
      const sizes = Object.values(bundle).map((file) => Buffer.byteLength(file.type === "chunk" ? file.code : file.source));
      const total = sizes.reduce((sum, size) => sum + size, 0);
      if (total > BUDGET) this.error(`${name}: ${total} bytes, more than the ${BUDGET} allowed`);
    },
  };
}

export default defineConfig(({ mode }) => {
  const page = mode === "page";
  const name = page ? "view" : "widget";
  return {
    root: here("."),
    configFile: false,
    publicDir: false,
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [svelte(), inlinable(), budget(name)],
    build: {
      outDir: here("../src/vitscope/web/static"),
      emptyOutDir: false,
      target: "es2022",
      cssTarget: ["chrome123", "edge123", "firefox121", "safari17.5"], // light-dark() stays as it is
      minify: true,
      reportCompressedSize: false,
      cssCodeSplit: false,
      rolldownOptions: { output: { minify: true } },
      lib: {
        entry: here(page ? "src/entry-page.ts" : "src/entry-widget.ts"),
        formats: [page ? "iife" : "es"],
        name: page ? "vitscopeView" : undefined,
        fileName: () => `${name}.js`,
        cssFileName: name,
      },
    },
  };
});
