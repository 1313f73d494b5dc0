// Writes build.json: the digest of the sources that the build was made from, and of each file of the build.
// A Python test compares both, so that nobody edits the build by hand or forgets to make it again.
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
const files = {};
for (const path of filesUnder(out).map((path) => relative(out, path)).sort()) {
  if (path !== "build.json") files[path] = createHash("sha256").update(readFileSync(join(out, path))).digest("hex");
}
writeFileSync(join(out, "build.json"), `${JSON.stringify({ sources_sha256: digest.digest("hex"), files }, null, 2)}\n`);
