// The runtimes that are installed (scripts/runtimes.mjs), for tests that need several. scripts/test.mjs passes them on.

export interface TestRuntime {
  name: string;
  command: string;
  /** What stands before a script's path. */
  args: string[];
}

/** The one that runs this test. */
export const here: TestRuntime = {
  name: process.versions["deno"] !== undefined ? "deno" : process.versions["bun"] !== undefined ? "bun" : "node",
  command: process.execPath,
  args: process.versions["deno"] === undefined ? [] : ["run", "--allow-all"],
};

export const installed = JSON.parse(process.env["COREWAL_RUNTIMES"] ?? "[]") as TestRuntime[];

export const runtimeNamed = (name: string): TestRuntime | undefined => installed.find((r) => r.name === name);
