// Everything that is made from the sources. `node scripts/build.mjs` makes what `npm pack` ships (dist/),
// `node scripts/build.mjs test` makes what the tests run (build/test). Import it for the pieces.

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { root } from "./install.mjs";
import { instrument } from "./instrument.mjs";

const ESBUILD_TARGET = ["node20", "es2022"];

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} failed`);
}

const newest = (dir) => Math.max(...readdirSync(join(root, dir)).map((f) => statSync(join(root, dir, f)).mtimeMs));

/** Compiles the module (`release`) or its test build with stopping points (`points`), unless it is up to date. */
export function buildWasm(target) {
  const out = join(root, target === "release" ? "build/corewal.wasm" : `build/corewal.${target}.wasm`);
  mkdirSync(join(root, "build"), { recursive: true });
  const fresh = Math.max(newest("assembly"), statSync(join(root, "asconfig.json")).mtimeMs);
  if (statSync(out, { throwIfNoEntry: false })?.mtimeMs > fresh) return out;
  run(process.execPath, [join(root, "node_modules/assemblyscript/bin/asc.js"), "--target", target]);
  checkWasm(readFileSync(out), target);
  return out;
}

/**
 * The module is instantiated many times over one shared memory, so it may own nothing: no data segments
 * (each instantiation would write them again), no start function, no mutable globals.
 */
export function checkWasm(bytes, name) {
  const faults = [];
  let at = 8;
  const leb = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
  };
  while (at < bytes.length) {
    const id = bytes[at++];
    const end = leb() + at;
    if (id === 8) faults.push("a start function");
    if (id === 11 && leb() > 0) faults.push("data segments");
    if (id === 6) {
      const globals = WebAssembly.Module.exports(new WebAssembly.Module(bytes)).filter((e) => e.kind === "global");
      const count = leb();
      if (count > 0) faults.push(`${count} globals${globals.length > 0 ? `, exported: ${globals.map((g) => g.name).join(", ")}` : ""}`);
    }
    at = end;
  }
  if (faults.length > 0) throw new Error(`the ${name} module has ${faults.join(" and ")}: it must have none`);
}

/** Gives the sources their embedded parts: the module as base64, the flusher's worker as text. */
export function embed({ edit, wasmFile, pointsFile } = {}) {
  const text = (contents) => ({ contents: `export default ${JSON.stringify(contents)};`, loader: "js" });
  return {
    name: "corewal-embed",
    setup(build) {
      build.onResolve({ filter: /^corewal:/ }, ({ path }) => ({ path, namespace: "corewal" }));
      build.onLoad({ filter: /^corewal:wasm/, namespace: "corewal" }, ({ path }) => {
        const file = path === "corewal:wasm-points" ? (pointsFile ?? buildWasm("points")) : (wasmFile ?? buildWasm("release"));
        return text(readFileSync(file).toString("base64"));
      });
      build.onLoad({ filter: /^corewal:schedule$/, namespace: "corewal" }, () => ({
        contents: JSON.stringify(instrument((wasmFile ?? buildWasm("release")).replace(/\.wasm$/, ".wat"))),
        loader: "json",
      }));
      build.onLoad({ filter: /^corewal:flusher-worker$/, namespace: "corewal" }, async () => {
        const { outputFiles } = await esbuild.build({
          ...common,
          entryPoints: [join(root, "src/flusher-worker.ts")],
          write: false,
          minify: true,
          sourcemap: false,
          plugins: [embed({ edit, wasmFile })],
        });
        return text(outputFiles[0].text);
      });
      if (edit) {
        build.onLoad({ filter: /\/(src|test\/schedules)\/.*\.ts$/ }, ({ path }) => ({
          contents: edit(path, readFileSync(path, "utf8")),
          loader: "ts",
        }));
      }
    },
  };
}

export const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  platform: "node",
  target: ESBUILD_TARGET,
  logLevel: "warning",
};

/** What `npm pack` ships. */
export async function buildDist() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  await esbuild.build({
    ...common,
    entryPoints: { index: "src/index.ts", core: "src/core-index.ts", cli: "src/cli.ts" },
    outdir: "dist",
    splitting: true,
    chunkNames: "shared-[hash]",
    plugins: [embed()],
  });
  run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.dist.json"]);
}

const files = (dir, end) =>
  readdirSync(join(root, dir), { recursive: true, withFileTypes: true })
    .filter((f) => f.isFile() && f.name.endsWith(end))
    .map((f) => join(f.parentPath ?? f.path, f.name))
    // bench/ may have the peers' packages in it.
    .filter((f) => !relative(root, f).includes("node_modules"));

/** What the tests, the simulator and the benches run: one bundle with shared chunks, so that each module exists once. */
export async function buildTests() {
  rmSync(join(root, "build/js"), { recursive: true, force: true });
  await esbuild.build({
    ...common,
    entryPoints: [
      ...files("test", ".ts"),
      ...files("bench", ".ts"),
      join(root, "src/cli.ts"),
      join(root, "src/index.ts"),
      join(root, "src/core-index.ts"),
    ].filter((f) => !f.endsWith(".d.ts")),
    outdir: "build/js",
    outbase: root,
    splitting: true,
    sourcemap: "linked",
    packages: "external",
    plugins: [embed()],
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  buildWasm("release");
  if (process.argv[2] === "test") await buildTests();
  else await buildDist();
}
