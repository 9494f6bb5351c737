// What runtimes and systems lack: refused with a code and with what to do, before anything is touched.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { codeOf } from "../src/errors.js";
import { OLDEST, requireDurableNames, requireRuntime, runtime, weakness, type Abilities, type RuntimeName } from "../src/runtime.js";

const whole: Abilities = {
  runtime,
  atomics: { waitAsync: true },
  sharedArrayBuffer: SharedArrayBuffer,
  validate: (bytes) => WebAssembly.validate(bytes),
};

function unsupported(run: () => void, words: RegExp): void {
  try {
    run();
  } catch (error) {
    assert.is(codeOf(error), "COREWAL_UNSUPPORTED");
    assert.match((error as Error).message, words);
    return;
  }
  assert.unreachable(`nothing was refused: ${words}`);
}

test("this runtime can do it", () => {
  requireRuntime();
  requireRuntime(whole);
});

test("each missing ability is named, with what to do", () => {
  unsupported(() => requireRuntime({ ...whole, atomics: {} }), /without Atomics\.waitAsync: leave out the flags that switch it off/);
  unsupported(() => requireRuntime({ ...whole, sharedArrayBuffer: undefined }), /without SharedArrayBuffer/);
  unsupported(
    () => requireRuntime({ ...whole, validate: () => false }),
    /without WebAssembly threads and WebAssembly SIMD: .* switch them off/,
  );
  // Only modules with the feature are asked for: a runtime that knows no others passes.
  const asked: number[] = [];
  requireRuntime({ ...whole, validate: (bytes) => asked.push(bytes.length) > 0 });
  assert.is(asked.length, 2);
});

test("the probes are modules that a whole runtime takes, and that need what they probe for", () => {
  const probes: Uint8Array[] = [];
  requireRuntime({ ...whole, validate: (bytes) => probes.push(bytes) > 0 });
  for (const bytes of probes) {
    assert.ok(WebAssembly.validate(bytes));
    const broken = Uint8Array.from(bytes);
    broken[broken.length - 3]! ^= 0x55;
    assert.not.ok(WebAssembly.validate(broken));
  }
});

test("versions that are too old are refused, the oldest is not", () => {
  for (const [name, [major, minor]] of Object.entries(OLDEST) as [RuntimeName, readonly [number, number]][]) {
    const at = (version: string): Abilities => ({ ...whole, runtime: { name, version, platform: "linux" } });
    requireRuntime(at(`${major}.${minor}.0`));
    requireRuntime(at(`${major + 1}.0.0`));
    requireRuntime(at(`${major}.${minor + 10}.0-canary.1`));
    unsupported(
      () => requireRuntime(at(`${major - 1}.99.0`)),
      new RegExp(`${name} ${major - 1}\\.99\\.0 is too old .*${major}\\.${minor} or later`),
    );
    if (minor > 0) unsupported(() => requireRuntime(at(`${major}.${minor - 1}.9`)), /too old/);
  }
});

test("Windows cannot write a log, and is told where it can", () => {
  requireDurableNames();
  for (const platform of ["linux", "darwin", "freebsd"]) requireDurableNames({ ...runtime, platform });
  unsupported(() => requireDurableNames({ ...runtime, platform: "win32" }), /WSL 2.*readOnly: true/);
});

test("a weaker fsync is named: Bun on macOS, nowhere else", () => {
  const of = (name: RuntimeName, platform: string): string | undefined => weakness({ name, version: "99.0", platform });
  assert.match(of("Bun", "darwin")!, /power loss/);
  for (const name of ["Node.js", "Deno"] as const) assert.is(of(name, "darwin"), undefined);
  for (const name of ["Node.js", "Deno", "Bun"] as const) assert.is(of(name, "linux"), undefined);
});

test.run();
