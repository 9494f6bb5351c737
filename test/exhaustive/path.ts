// A way through a history, as text: `12.01.p0110,end..k` means that the first process ends at operation 12 of the disk,
// which decides 0 and 1 on the way, and the power goes, with decisions 0110 about what arrives; the next one lives
// its life and is killed.

/** One process, and what happened to it. */
export interface Step {
  /** The operation at which it ends; "end" of its script, or "failure": the disk fails where `run` says so. */
  at: number | "end" | "failure";
  /** Decisions while it ran. */
  run: readonly number[];
  /** Undefined: something was wrong already while it ran. */
  end: "exit" | "power" | undefined;
  /** Decisions when the power went. */
  loss: readonly number[];
}

const digits = (decisions: readonly number[]): string =>
  decisions
    .map((n) => n.toString(36))
    .join("")
    .replace(/0+$/, "");

const numbers = (text: string): number[] => [...text].map((digit) => parseInt(digit, 36));

export function describePath(path: readonly Step[]): string {
  return path.map(({ at, run, end, loss }) => `${at}.${digits(run)}.${end === undefined ? "" : end[0] + digits(loss)}`).join();
}

export function parsePath(text: string): Step[] {
  return text.split(",").map((part) => {
    const match = /^(\d+|end|failure)\.([0-9a-z]*)\.(?:([ep])([0-9a-z]*))?$/.exec(part);
    if (match === null) throw new Error(`${part} is no step of a path: it is AT.DECISIONS.pDECISIONS, or e instead of p`);
    const [, at, run, end, loss] = match;
    return {
      at: at === "end" || at === "failure" ? at : Number(at),
      run: numbers(run!),
      end: end === undefined ? undefined : end === "p" ? "power" : "exit",
      loss: numbers(loss ?? ""),
    };
  });
}
