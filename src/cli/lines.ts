// Bytes into lines, without decoding them. A line ends before its newline byte; a carriage return before it belongs
// to the line; what follows the last newline is a line too if it is not empty.

const NEWLINE = 10;

/** Gathers a stream's pieces and cuts them into blocks of whole lines. */
export class BlockCutter {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Bytes after the last newline. */
  #tail = 0;

  push(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    const last = piece.lastIndexOf(NEWLINE);
    this.#tail = last < 0 ? this.#tail + piece.length : piece.length - last - 1;
  }

  /** Bytes of whole lines: what `cut` gives. */
  get ready(): number {
    return this.#bytes - this.#tail;
  }

  /** Bytes of the line whose end has not come yet. */
  get unfinished(): number {
    return this.#tail;
  }

  /** The whole lines so far, in memory of their own; the unfinished one too when the stream has ended. */
  cut(ended = false): Uint8Array {
    const block = new Uint8Array(ended ? this.#bytes : this.ready);
    let at = 0;
    while (at < block.length) {
      const piece = this.#pieces[0]!;
      const fits = Math.min(piece.length, block.length - at);
      block.set(piece.subarray(0, fits), at);
      at += fits;
      if (fits === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(fits);
    }
    this.#bytes -= block.length;
    if (ended) this.#tail = 0;
    return block;
  }
}

/** Calls `each` with begin and end of every line of a block, empty ones included; stops when `each` gives false. */
export function eachLine(block: Uint8Array, each: (begin: number, end: number) => boolean | void): void {
  for (let begin = 0; begin < block.length;) {
    const newline = block.indexOf(NEWLINE, begin);
    const end = newline < 0 ? block.length : newline;
    if (each(begin, end) === false) return;
    begin = end + 1;
  }
}
