import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const WASM = "ort-wasm-simd-threaded.wasm";

/** Packs the one WebAssembly file of ONNX Runtime that is used, gzipped: the worker unpacks it and hands it over. */
function packRuntime(): Plugin {
  return {
    name: "pack-runtime",
    apply: "build",
    transform(code, id) {
      if (!id.includes("onnxruntime-web")) return null;
      return { code: code.replaceAll(`new URL("${WASM}",import.meta.url)`, `new URL("about:blank")`), map: null };
    },
    buildStart() {
      const bytes = readFileSync(createRequire(import.meta.url).resolve(`onnxruntime-web/${WASM}`));
      this.emitFile({ type: "asset", fileName: "runtime/ort.wasm.gz", source: gzipSync(bytes, { level: 9 }) });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [svelte()],
  worker: { format: "es", plugins: () => [packRuntime()] },
  build: {
    outDir: "../src/echoapex/serve/page/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  server: { host: "127.0.0.1", port: 5177, proxy: { "/api": process.env["ECHOAPEX_SERVER"] ?? "http://127.0.0.1:8077" } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
