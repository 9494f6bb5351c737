// The few names of the WebAssembly API that are used here. TypeScript has them only in its DOM library,
// which would let code for browsers pass unnoticed.

declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum: number; shared: true });
    readonly buffer: SharedArrayBuffer;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: object;
  }
  function validate(bytes: Uint8Array): boolean;
}
