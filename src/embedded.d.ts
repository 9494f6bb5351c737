// What scripts/build.mjs puts into the bundle.

declare module "corewal:wasm" {
  /** The module, base64. */
  const base64: string;
  export default base64;
}
declare module "corewal:wasm-points" {
  /** Its test build with stopping points, base64. */
  const base64: string;
  export default base64;
}
declare module "corewal:schedule" {
  /** The module with a call at each access of memory, base64, and what these accesses are (scripts/instrument.mjs). */
  const instrumented: {
    wasm: string;
    sites: { where: string; text: string; kind: string; bytes: number }[];
    /** Addresses whose plain accesses are not shown. */
    unwatched: { from: number; bytes: number };
  };
  export default instrumented;
}
declare module "corewal:flusher-worker" {
  /** Source text of the flusher's worker: JavaScript that imports only `node:` modules. */
  const source: string;
  export default source;
}
