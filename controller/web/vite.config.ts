import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

// precompress writes what the controller sends to browsers, and keeps the folder in the repository.
function precompress(): Plugin {
  const walk = (dir: string): string[] =>
    readdirSync(dir).flatMap((name) => (statSync(join(dir, name)).isDirectory() ? walk(join(dir, name)) : [join(dir, name)]));
  return {
    name: "precompress",
    apply: "build",
    closeBundle() {
      for (const file of walk("dist")) {
        if (!/\.(html|js|css|svg)$/.test(file)) continue;
        const text = readFileSync(file);
        writeFileSync(`${file}.gz`, gzipSync(text, { level: 9 }));
        writeFileSync(`${file}.br`, brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
      }
      writeFileSync("dist/.gitkeep", "");
    },
  };
}

export default defineConfig({
  base: "/console/",
  plugins: [react(), precompress()],
  build: { target: "es2022", reportCompressedSize: false, chunkSizeWarningLimit: 700, modulePreload: { polyfill: false } },
  // `npm run dev` shows the console before a controller that runs already: CONTROLLER=https://127.0.0.1:18443 npm run dev
  server: { proxy: { "/api": { target: process.env.CONTROLLER ?? "https://127.0.0.1:8443", changeOrigin: true, secure: false } } },
});
