// The examples in docstrings and in the README, as programs: compiled as strictly as a user may, and run.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import * as esbuild from "esbuild";
import { ReflectionKind } from "typedoc";
import ts from "typescript";
import { common, embed } from "./build.mjs";
import { root } from "./install.mjs";

const OUT = join(root, "build/examples");
const VALUES = ReflectionKind.Function | ReflectionKind.Class | ReflectionKind.Variable;
const NEED_ONE =
  ReflectionKind.Function | ReflectionKind.Class | ReflectionKind.Interface | ReflectionKind.TypeAlias | ReflectionKind.Method;

/** Every example as { name, text }, and a fault for each public name that has none. */
export function examplesIn(project) {
  const examples = [];
  const faults = [];
  const imports = project.children.map((module) => importOf(module));
  for (const symbol of project.getReflectionsByKind(NEED_ONE)) {
    if (symbol.inheritedFrom !== undefined) continue;
    const tags = (symbol.comment ?? symbol.signatures?.[0]?.comment)?.getTags("@example") ?? [];
    const name = symbol.getFriendlyFullName();
    if (tags.length === 0) faults.push(`${name} has no @example`);
    for (const { content } of tags)
      for (const code of blocks(content.map(({ text }) => text).join(""))) examples.push(program(name, code, imports));
  }
  for (const code of blocks(readFileSync(join(root, "README.md"), "utf8"))) examples.push({ name: "README", text: code });
  return { examples, faults };
}

const blocks = (markdown) => [...markdown.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map(([, code]) => code);

/** Everything that an entry point exports, but what it has from another one. */
function importOf(module) {
  const names = module.children.filter((c) => !c.isReference()).map((c) => (c.kindOf(VALUES) ? c.name : `type ${c.name}`));
  return `import { ${names.join(", ")} } from "${module.name}";`;
}

/** An example that imports nothing stands on an open `log` and, if it says so, a `writer`. All before it is line 1. */
function program(name, code, imports) {
  if (/^import /m.test(code)) return { name, text: code };
  const free = (variable) => new RegExp(`\\b${variable}\\.`).test(code) && !new RegExp(`(const|using) ${variable}\\b`).test(code);
  const writer = free("writer");
  const log = writer || free("log");
  const before = `${log ? 'const log = await openLog("./data", { flusher: "inline" });' : ""}${writer ? "const writer = await attachLog(log.handle);" : ""}`;
  return { name, text: `${imports.join("")}${before}{\n${code}}${log ? "await log.close();" : ""}\n` };
}

/** Compiles and runs them all; gives what is wrong. */
export async function tryExamples(examples, entryPoints) {
  rmSync(OUT, { recursive: true, force: true });
  mkdirSync(OUT, { recursive: true });
  const files = examples.map(({ name, text }, i) => {
    const file = join(OUT, `${String(i + 1).padStart(3, "0")}-${name.replace(/\W/g, "-")}.ts`);
    writeFileSync(file, text);
    return file;
  });
  const faults = typeFaults(files, entryPoints);
  return faults.length > 0 ? faults : runFaults(files, entryPoints);
}

function typeFaults(files, entryPoints) {
  const program = ts.createProgram(files, {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2022.d.ts"],
    module: ts.ModuleKind.NodeNext,
    types: ["node"],
    typeRoots: [join(root, "node_modules/@types")],
    paths: Object.fromEntries(entryPoints.map(([name, source]) => [name, [join(root, source)]])),
  });
  return files
    .map((file) => program.getSourceFile(file))
    .flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)])
    .map(({ file, start, messageText }) => {
      const { line } = file.getLineAndCharacterOfPosition(start);
      return `${relative(root, file.fileName)}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
    });
}

/** One process runs them one after the other, each in a directory of its own with a log in ./data. */
async function runFaults(files, entryPoints) {
  const main = join(OUT, "main.ts");
  writeFileSync(
    main,
    `import { mkdirSync } from "node:fs";
import { openLog } from "corewal";
const names = ${JSON.stringify(files.map((file) => relative(OUT, file).replace(/ts$/, "js")))};
for (const name of names) {
  mkdirSync(name);
  process.chdir(name);
  try {
    await using log = await openLog("./data", { flusher: "inline" });
    await log.append({ kind: "put", key: "user/7", value: "Ada" });
    await log.close();
    await import(new URL(name, import.meta.url).href);
  } catch (error) {
    console.error(name, error);
    process.exitCode = 1;
  }
  process.chdir("..");
}
`,
  );
  await esbuild.build({
    ...common,
    entryPoints: [main, ...files],
    outdir: join(OUT, "js"),
    splitting: true,
    plugins: [embed()],
    alias: Object.fromEntries(entryPoints.map(([name, source]) => [name, join(root, source)])),
  });
  const cwd = mkdtempSync(join(tmpdir(), "corewal-examples-"));
  try {
    const { status, stderr } = spawnSync(process.execPath, [join(OUT, "js/main.js")], { cwd, encoding: "utf8", timeout: 60_000 });
    // Each makes its directory as it begins, so the last one is the one that never ended.
    return status === 0 ? [] : [`an example fails when it runs:\n${stderr || `${readdirSync(cwd).sort().at(-1)} does not end`}`];
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}
