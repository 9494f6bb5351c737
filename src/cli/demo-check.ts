// The demo's judge: compares what is in the log with the records and with what was acknowledged.

import type { Log } from "../types.js";
import type { Records } from "./demo-records.js";

/** What was acknowledged: where each record is, by its number. */
export class Acknowledged {
  /** 0: it was not. */
  readonly lsns: Float64Array;
  /** In a striped log 0. */
  readonly cores: Uint8Array;
  count = 0;

  constructor(records: number) {
    this.lsns = new Float64Array(records);
    this.cores = new Uint8Array(records);
  }

  add(index: number, core: number, lsn: number): void {
    this.lsns[index] = lsn;
    this.cores[index] = core;
    this.count++;
  }
}

export interface Verdict {
  /** Entries in the log. */
  recovered: number;
  /** Acknowledged records that are there under their LSN, byte for byte. */
  kept: number;
  /** There, though the acknowledgement had not come through: allowed. */
  unacknowledged: number;
  /** Acknowledged and not there. */
  missing: number;
  /** There, but under another LSN or with other bytes. */
  wrong: number;
  /** There more than once. */
  twice: number;
  /** Never appended by anybody. */
  invented: number;
  /** 1 for each record that is in the log. */
  there: Uint8Array;
}

export const sound = (v: Verdict): boolean => v.missing + v.wrong + v.twice + v.invented === 0;

export async function judge(log: Log, records: Records, acknowledged: Acknowledged): Promise<Verdict> {
  const { lsns, cores } = acknowledged;
  const perCore = log.recovery.topology === "per-core";
  const v: Verdict = {
    recovered: 0,
    kept: 0,
    unacknowledged: 0,
    missing: 0,
    wrong: 0,
    twice: 0,
    invented: 0,
    there: new Uint8Array(records.count),
  };
  for await (const entries of log.readBatches()) {
    for (const { core, lsn, kind, key, value } of entries) {
      v.recovered++;
      const index = kind === "put" && key !== undefined ? Number(Buffer.from(key).toString("latin1")) : NaN;
      if (!Number.isInteger(index) || index < 0 || index >= records.count) {
        v.invented++;
      } else if (v.there[index] === 1) {
        v.twice++;
      } else {
        v.there[index] = 1;
        const acked = lsns[index] !== 0;
        const elsewhere = lsns[index] !== lsn || (perCore && cores[index] !== core);
        if (Buffer.compare(value, records.at(index)) !== 0 || (acked && elsewhere)) v.wrong++;
        else if (acked) v.kept++;
        else v.unacknowledged++;
      }
    }
  }
  for (let index = 0; index < records.count; index++) {
    if (lsns[index] !== 0 && v.there[index] === 0) v.missing++;
  }
  return v;
}
