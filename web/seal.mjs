// Writes build.json: the digest of the sources that the build was made from. A Python test compares it.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

const root = import.meta.dirname;
const out = join(root, "../src/echoapex/serve/page/web");

function filesUnder(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}

const sources = [
  ...["index.html", "package-lock.json", "package.json", "svelte.config.js", "tsconfig.json", "vite.config.ts"].map((name) =>
    join(root, name),
  ),
  ...filesUnder(join(root, "public")),
  ...filesUnder(join(root, "src")),
];
const digest = createHash("sha256");
for (const path of sources.map((path) => relative(root, path)).sort()) {
  const file = createHash("sha256").update(readFileSync(join(root, path))).digest("hex");
  digest.update(`${file}  ${path}\n`);
}
writeFileSync(join(out, "build.json"), `${JSON.stringify({ sources_sha256: digest.digest("hex") })}\n`);
