// One thread's waits for the chains of other cores.

import { bankAddress } from "./banks.js";
import type { Core } from "./core.js";
import { DurableWaits, type WaitsOwner } from "./durable-waits.js";
import type { Wait } from "./types.js";

export class OtherCores {
  private readonly others = new Map<number, { core: Core; waits: DurableWaits }>();

  /** `self` waits for its own core. */
  constructor(private readonly self: WaitsOwner) {}

  /** Waits for something in a chain, with its core's number. */
  of(bank: number): { core: Core; waits: DurableWaits } {
    let other = this.others.get(bank);
    if (other === undefined) {
      const { self } = this;
      const core = self.bank.at(bankAddress(self.bank, bank));
      const waits = new DurableWaits({
        bank: core,
        ask: (lsn) => core.x.ring_demand_other(lsn),
        settledByFlusher: self.settledByFlusher,
        unknown: (lsn) => self.unknown(lsn),
        closedError: () => self.closedError(),
        changed: () => self.changed(),
      });
      this.others.set(bank, (other = { core, waits }));
    }
    return other;
  }

  durable(bank: number, lsn: number, wait: Wait | undefined): Promise<void> {
    const { core, waits } = this.of(bank);
    if (lsn <= core.x.log_durable_lsn()) return Promise.resolve();
    waits.demand(lsn, true);
    return waits.waitFor(lsn, undefined, wait);
  }

  block(bank: number, lsn: number, timeoutMs: number, pump: (() => void) | undefined): void {
    this.of(bank).waits.block(lsn, timeoutMs, pump);
  }

  get size(): number {
    let size = 0;
    for (const { waits } of this.others.values()) size += waits.size;
    return size;
  }

  settle(): void {
    for (const { waits } of this.others.values()) waits.settle();
  }
}
