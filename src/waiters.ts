// Promises that wait for an LSN to become durable, in LSN order: settling takes from the front.

export interface Waiter {
  lsn: number;
  /** What the promise resolves with. */
  value: unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

export class WaiterQueue {
  private list: Waiter[] = [];
  private head = 0;

  get size(): number {
    return this.list.length - this.head;
  }

  add(waiter: Waiter): void {
    const { list } = this;
    if (this.size === 0 || list[list.length - 1]!.lsn <= waiter.lsn) {
      list.push(waiter);
      return;
    }
    // Rare: durable(lsn) asks for an earlier one than the appends before it.
    let at = list.length;
    while (at > this.head && list[at - 1]!.lsn > waiter.lsn) at--;
    list.splice(at, 0, waiter);
  }

  /** Takes a waiter out whose wait has ended otherwise. */
  remove(waiter: Waiter): void {
    const at = this.list.indexOf(waiter, this.head);
    if (at >= 0) this.list.splice(at, 1);
  }

  /** Resolves everybody up to `durable`. */
  settle(durable: number): void {
    const { list } = this;
    let { head } = this;
    while (head < list.length) {
      const waiter = list[head]!;
      if (waiter.lsn > durable) break;
      head++;
      waiter.resolve(waiter.value);
    }
    if (head === list.length) {
      list.length = head = 0;
    } else if (head > 1024 && head * 2 > list.length) {
      list.splice(0, head);
      head = 0;
    }
    this.head = head;
  }

  /** Rejects everybody. */
  fail(error: (waiter: Waiter) => unknown): void {
    const waiters = this.list.slice(this.head);
    this.list.length = this.head = 0;
    for (const waiter of waiters) waiter.reject(error(waiter));
  }
}
