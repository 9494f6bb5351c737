// The module of the schedule exploration (test/schedules/): the release build's own text, in which each access of
// memory calls out before it happens, so that a test decides which thread goes next and sees who touched what. The
// shipped code is explored as the compiler left it; nothing in assembly/ knows of it.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./install.mjs";

// The text format's accesses: one instruction a line, operands on the stack, so that a call can take its place.
const ACCESS =
  /^( *)((?:(i32|i64|v128)\.(?:(atomic)\.)?(load|store|rmw)(\d*)(?:\.(\w+))?(?:_[us])?|memory\.atomic\.notify|memory\.copy)((?: (?:offset|align)=\d+)*))$/;
/** The checksum's tables: never written once the memory is shared, read too often to be watched. */
const UNWATCHED = { from: 8192, bytes: 16384 };
const BYTES = { i32: 4, i64: 8, v128: 16 };

/** Exports one access, of an address and so many operands. 64-bit words cross as f64. */
function hostFunction(name, instruction, operands, returns) {
  const wide = instruction.startsWith("i64");
  const type = wide ? "f64" : "i32";
  const result = returns ? ` (result ${type})` : "";
  const lines = [` (func $${name} (export "${name}") (param i32${` ${type}`.repeat(operands)})${result}`, "  local.get 0"];
  for (let i = 1; i <= operands; i++) lines.push(`  local.get ${i}`, ...(wide ? ["  i64.trunc_f64_s"] : []));
  return [...lines, `  ${instruction}`, ...(wide && returns ? ["  f64.convert_i64_s"] : []), " )\n"].join("\n");
}

/** What the test needs of the host's accesses: what src/ does with Atomics and typed arrays. */
const HOST = [
  hostFunction("host_load", "i32.atomic.load", 0, true),
  hostFunction("host_store", "i32.atomic.store", 1, false),
  hostFunction("host_exchange", "i32.atomic.rmw.xchg", 1, true),
  hostFunction("host_notify", "memory.atomic.notify", 1, true),
  hostFunction("host_put", "i32.store", 1, false),
  hostFunction("host_load64", "i64.atomic.load", 0, true),
  hostFunction("host_store64", "i64.atomic.store", 1, false),
  hostFunction("host_cmpxchg64", "i64.atomic.rmw.cmpxchg", 2, true),
  hostFunction("host_get64", "i64.load", 0, true),
  hostFunction("host_put64", "i64.store", 1, false),
].join("");

const IMPORTS = ` (import "schedule" "point" (func $point (param i32 i32)))
 (import "schedule" "atomic" (func $atomic (param i32 i32 i32)))
 (import "schedule" "plain" (func $plain (param i32 i32 i32)))
`;

/** The function that does one access and says so: `point` may suspend the thread, the others only take note. */
function shim(name, site, instruction, type) {
  const { kind, bytes, offset } = site;
  const id = `i32.const ${site.id}`;
  const at = `(i32.add (local.get 0) (i32.const ${offset}))`;
  const get = (count) => Array.from({ length: count }, (_, i) => `(local.get ${i})`).join(" ");
  if (kind === "copy") {
    return ` (func ${name} (param i32 i32 i32)
  (call $plain (${id}) (local.get 1) (local.get 2))
  (call $plain (i32.const ${site.id + 1}) (local.get 0) (local.get 2))
  (${instruction} ${get(3)}))\n`;
  }
  if (!site.atomic) {
    const watched = `(i32.ge_u (i32.sub ${at} (i32.const ${UNWATCHED.from})) (i32.const ${UNWATCHED.bytes}))`;
    const note = `(if ${watched} (then (call $plain (${id}) ${at} (i32.const ${bytes}))))`;
    return kind === "load"
      ? ` (func ${name} (param i32) (result ${type}) ${note} (${instruction} ${get(1)}))\n`
      : ` (func ${name} (param i32 ${type}) ${note} (${instruction} ${get(2)}))\n`;
  }
  const point = `(call $point (${id}) ${at})`;
  const note = (wrote) => `(call $atomic (${id}) ${at} ${wrote})`;
  if (kind === "store") return ` (func ${name} (param i32 ${type}) ${point} (${instruction} ${get(2)}) ${note("(i32.const 1)")})\n`;
  const operands = { load: 1, rmw: 2, notify: 2, cmpxchg: 3 }[kind];
  const params = { load: "i32", rmw: `i32 ${type}`, notify: "i32 i32", cmpxchg: `i32 ${type} ${type}` }[kind];
  const result = `(local.get ${operands})`;
  // An exchange that found another value has only read.
  const wrote = { load: "(i32.const 0)", notify: "(local.get 1)", rmw: "(i32.const 1)", cmpxchg: `(${type}.eq ${result} (local.get 1))` }[
    kind
  ];
  return ` (func ${name} (param ${params}) (result ${type}) (local ${type})
  ${point} (local.set ${operands} (${instruction} ${get(operands)})) ${note(wrote)} ${result})\n`;
}

/** The text with its accesses replaced by calls, and what each of them is. */
export function instrumentText(text) {
  const sites = [];
  let shims = "";
  let where = "";
  // The host's functions come last, so that they are instrumented like the others.
  const body = text.trimEnd().replace(/\)$/, `${HOST})`).split("\n");
  const lines = body.map((line) => {
    where = /^ \(func \$(\S+)/.exec(line)?.[1].split("/").at(-1) ?? where;
    const found = ACCESS.exec(line);
    if (found === null) {
      if (/^ *(memory\.(?!size)|[\w]+\.(atomic|load|store))/.test(line)) throw new Error(`no instrument for this access: ${line}`);
      return line;
    }
    const [, indent, instruction, prefix, atomic, access, bits, operation, memarg] = found;
    let kind = access ?? (instruction.startsWith("memory.copy") ? "copy" : "notify");
    if (kind === "rmw" && operation === "cmpxchg") kind = "cmpxchg";
    const type = prefix ?? "i32";
    const bytes = bits ? Number(bits) / 8 : BYTES[type];
    const offset = Number(/offset=(\d+)/.exec(memarg)?.[1] ?? 0);
    const site = { id: sites.length, where, text: instruction, kind, bytes, offset, atomic: atomic !== undefined || kind === "notify" };
    sites.push({ where, text: instruction, kind: kind === "copy" ? "load" : kind, bytes });
    if (kind === "copy") sites.push({ where, text: instruction, kind: "store", bytes });
    shims += shim(`$access_${site.id}`, site, instruction, type);
    return `${indent}call $access_${site.id}`;
  });
  lines.splice(-1, 0, shims);
  const at = lines.findIndex((line) => line.startsWith(" (import"));
  lines.splice(at, 0, IMPORTS.trimEnd());
  return { text: lines.join("\n"), sites };
}

/** The instrumented module, whose threads can be suspended at each atomic access (Asyncify), and its sites. */
export function instrument(textFile) {
  const { text, sites } = instrumentText(readFileSync(textFile, "utf8"));
  const directory = mkdtempSync(join(tmpdir(), "corewal-instrument-"));
  try {
    const [input, output] = [join(directory, "in.wat"), join(directory, "out.wasm")];
    writeFileSync(input, text);
    const flags = [
      "--enable-threads",
      "--enable-simd",
      "--enable-bulk-memory",
      "--enable-nontrapping-float-to-int",
      "--asyncify",
      "--pass-arg=asyncify-imports@schedule.point",
      "-O1",
    ];
    const opt = spawnSync(process.execPath, [join(root, "node_modules/binaryen/bin/wasm-opt"), ...flags, input, "-o", output], {
      encoding: "utf8",
    });
    if (opt.status !== 0) throw new Error(`wasm-opt failed on the instrumented module:\n${opt.stdout}${opt.stderr}`);
    return { wasm: readFileSync(output).toString("base64"), sites, unwatched: UNWATCHED };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
