// One life of a process that has the log open: what it does, and what it is told, which goes to the oracle.

import { ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES } from "../../assembly/layout.js";
import { codeOf } from "../../src/errors.js";
import { attachLog } from "../../src/log.js";
import type { Durability, Log, Wait, Writer } from "../../src/types.js";
import { checkBrokenReading, checkPoisoned, checkReading, expectRejection } from "./checks.js";
import { haunt } from "./dead-thread.js";
import { checkFollower, checkFollowers, Follower } from "./follower.js";
import { inputOf, makeBatch, makeForgery, makeItem, makeTiny, scribble } from "./items.js";
import { Violation, type Item, type Operation } from "./oracle.js";
import { Crashed, settle, type World } from "./world.js";

const ORDER: Durability[] = ["async", "group", "sync"];

interface Hand {
  writer: Writer;
  number: number;
  /** Highest LSN seen from it. */
  last: number;
  /** Called and not yet known to be in the ring. */
  queued: Operation[];
}

export class Session {
  private readonly hands: Hand[];
  private alive = true;
  private open = 0;
  private haunted = false;
  private closing = false;
  private durableSeen: number;
  private follower: Follower | undefined;

  constructor(
    private readonly world: World,
    private readonly log: Log,
  ) {
    this.hands = [{ writer: log, number: 0, last: log.lastLsn, queued: [] }];
    this.durableSeen = log.durableLsn;
  }

  /** The process is dead: nothing that its promises still say counts. */
  end(): void {
    if (!this.alive) return;
    this.alive = false;
    this.follower?.stop();
    // In a process that is killed, timers that keep it alive are gone as well.
    for (const { writer } of this.hands.slice(1)) (writer as Writer & { end?: () => void }).end?.();
  }

  /** Does `steps` random things, or fewer if the machine or the log dies. */
  async run(steps: number): Promise<void> {
    const { world } = this;
    if (world.random.chance(0.5)) for (let n = 1; n < world.config.writers; n++) await this.attach();
    if (world.random.chance(0.4)) this.follower = new Follower(world, this.log);
    for (let i = 0; i < steps; i++) {
      await this.step();
      this.observe();
      world.check();
      if (world.disk.down) throw new Crashed();
      if (world.failed) return;
    }
  }

  private async step(): Promise<void> {
    const { world } = this;
    const { random } = world;
    const roll = random.below(100);
    const hand = random.pick(this.hands);
    if (roll < 30) this.append(hand);
    else if (roll < 40) this.write(hand);
    else if (roll < 48 && world.config.batches) this.appendBatch(hand);
    else if (roll < 70) await world.pump(random.pick([1, 1, 2, 2000]));
    else if (roll < 73) this.appendSync(hand);
    else if (roll < 76) this.waitFor(hand);
    else if (roll < 80) world.clockMs += random.pick([1, 5, 20, 1000, -3000]);
    else if (roll < 84) await this.attach();
    else if (roll < 86) await this.detach(hand);
    else if (roll < 88) await checkReading(world, this.log);
    else if (roll < 89) await checkFollowers(world, this.follower);
    else if (roll < 90) await this.readOnly();
    else if (roll < 91) await this.readBroken();
    else if (roll < 92) this.haunted ||= random.chance(0.5) && haunt(world, this.log);
    else if (roll < 93) await this.forge();
    else if (roll < 95) await this.burst();
    else if (roll < 98) await this.idle();
    else await this.rest();
  }

  // --- appending ---------------------------------------------------------------------------------

  private items(): Item[] {
    const { random, config } = this.world;
    return [makeItem(random, this.world.newId(), config.size(random), random.chance(0.7) ? "data" : "all")];
  }

  private wait(): Wait | undefined {
    const { random } = this.world;
    return random.chance(0.5) ? undefined : { durability: random.pick(ORDER) };
  }

  /** A call may ask for more than the log's own, never for less. */
  private isDurable(wait: Wait | undefined): boolean {
    return this.world.config.options.durability !== "async" || (wait?.durability ?? "async") !== "async";
  }

  private append(hand: Hand): void {
    const operation = this.begin(hand, this.items());
    const input = inputOf(operation.items[0]!);
    const wait = this.wait();
    const promise = hand.writer.append(input, wait);
    scribble(input);
    this.track(hand, operation, promise, this.isDurable(wait), (lsn) => lsn);
  }

  private appendBatch(hand: Hand): void {
    const { random, config } = this.world;
    const items = makeBatch(
      random,
      () => this.world.newId(),
      () => config.size(random),
    );
    const operation = this.begin(hand, items);
    const inputs = items.map(inputOf);
    const wait = this.wait();
    const promise = hand.writer.appendBatch(inputs, wait);
    inputs.forEach(scribble);
    this.track(hand, operation, promise, this.isDurable(wait), ({ first, last }) => {
      if (last - first + 1 !== items.length) throw new Violation(`a batch of ${items.length} got the LSNs ${first} to ${last}`);
      return first;
    });
  }

  private write(hand: Hand): void {
    const { random } = this.world;
    const operation = this.begin(hand, random.chance(0.1) ? [makeTiny(random)] : this.items());
    const input = inputOf(operation.items[0]!);
    try {
      this.learn(hand, operation, hand.writer.write(input));
    } catch (error) {
      this.refuse(hand, operation, error);
    }
    scribble(input);
  }

  private appendSync(hand: Hand): void {
    const operation = this.begin(hand, this.items());
    try {
      const lsn = hand.writer.appendSync(inputOf(operation.items[0]!));
      this.learn(hand, operation, lsn);
      this.prove(lsn, hand, "appendSync");
    } catch (error) {
      const code = codeOf(error);
      if (code === "COREWAL_OUTCOME_UNKNOWN") this.explain(error);
      else this.refuse(hand, operation, error);
    }
  }

  /** More than a frame can hold, and then one step at a time. */
  private async burst(): Promise<void> {
    const { random, config, disk } = this.world;
    for (let n = random.between(4, 16); n > 0 && !disk.down; n--) {
      const hand = random.pick(this.hands);
      if (config.batches) this.appendBatch(hand);
      else this.append(hand);
    }
    if (disk.crashAt === Infinity && random.chance(0.5)) disk.crashAt = disk.operations + random.between(1, 12);
    await this.world.pump(random.between(1, 3));
  }

  /** Nobody appends for a while: an empty frame, which nobody syncs, says how far the log is durable. */
  private async idle(): Promise<void> {
    const { world } = this;
    await world.pump();
    world.clockMs += 10;
    await world.pump();
    if (world.random.chance(0.5)) this.append(world.random.pick(this.hands));
  }

  private begin(hand: Hand, items: Item[]): Operation {
    const operation = this.world.oracle.begin(hand.number, items);
    hand.queued.push(operation);
    this.world.trace(
      `writer ${hand.number} appends ids ${items.map((item) => item.id).join(" ")}, ${items.map((item) => item.value.length).join(" ")} bytes`,
    );
    return operation;
  }

  private track<T>(hand: Hand, operation: Operation, promise: Promise<T>, durable: boolean, firstOf: (result: T) => number): void {
    this.open++;
    this.observeHand(hand);
    this.listen(
      promise,
      (result) => {
        const first = firstOf(result);
        this.learn(hand, operation, first);
        if (durable) this.prove(first + operation.items.length - 1, hand, "append");
      },
      (error) => {
        const code = codeOf(error);
        if (code === "COREWAL_OUTCOME_UNKNOWN") this.explain(error);
        else this.refuse(hand, operation, error);
      },
    );
  }

  /** Judges a promise's outcome, unless its process is dead by then. */
  private listen<T>(promise: Promise<T>, resolved: (value: T) => void, rejected: (error: unknown) => void): void {
    const judged =
      <A>(judge: (value: A) => void) =>
      (value: A) => {
        if (!this.alive) return;
        this.open--;
        try {
          judge(value);
        } catch (error) {
          this.world.violation ??= error as Error;
        }
      };
    promise.then(judged(resolved), judged(rejected));
  }

  private learn(hand: Hand, operation: Operation, first: number): void {
    this.world.trace(`writer ${hand.number} has LSN ${first} for id ${operation.items[0]!.id}`);
    this.world.oracle.learn(operation, first);
    hand.queued = hand.queued.filter((other) => other !== operation);
    hand.last = Math.max(hand.last, first + operation.items.length - 1);
  }

  private prove(lsn: number, hand: Hand, by: string): void {
    this.world.trace(`durable up to ${lsn} by ${by}`);
    if (hand.writer.durableLsn < lsn) throw new Violation(`${by} is done at LSN ${lsn}, but durableLsn is ${hand.writer.durableLsn}`);
    this.world.oracle.prove(lsn, by);
  }

  /** The entry was not written, and the caller was told so. */
  private refuse(hand: Hand, operation: Operation, error: unknown): void {
    const code = codeOf(error);
    if (code === "COREWAL_POISONED") this.explain(error);
    else if (code === "COREWAL_CLOSED" && this.closing && hand !== this.hands[0]) {
      // Closing the log does not wait for what other writers could not even put into their rings.
    } else if (code !== "COREWAL_FULL") throw error;
    if (operation.first !== 0) throw new Violation(`${code} for LSN ${operation.first}, which is in the log: its outcome is unknown`);
    operation.refused = true;
    hand.queued = hand.queued.filter((other) => other !== operation);
  }

  /** An error that needs a failure of the disk to be explained. */
  private explain(error: unknown): void {
    if (!this.world.failed && !this.world.disk.down)
      throw new Violation(`nothing failed, and yet: ${codeOf(error)} ${(error as Error).stack}`);
  }

  // --- looking -----------------------------------------------------------------------------------

  /** What a look at the handles tells: LSNs that were handed out, LSNs that are durable. */
  private observe(): void {
    for (const hand of this.hands) this.observeHand(hand);
    const { durableLsn } = this.log;
    if (durableLsn < this.durableSeen) throw new Violation(`durableLsn went from ${this.durableSeen} to ${durableLsn}`);
    this.durableSeen = durableLsn;
    this.world.oracle.prove(durableLsn, "durableLsn");
  }

  private observeHand(hand: Hand): void {
    const { lastLsn } = hand.writer;
    if (lastLsn < hand.last) throw new Violation(`lastLsn of writer ${hand.number} went from ${hand.last} to ${lastLsn}`);
    if (lastLsn === hand.last) return;
    // Only one can have moved: then its LSN is known before anybody says so.
    const [operation] = hand.queued;
    if (hand.queued.length === 1 && operation !== undefined) this.learn(hand, operation, lastLsn - operation.items.length + 1);
    hand.last = lastLsn;
  }

  private waitFor(hand: Hand): void {
    const { random } = this.world;
    this.open++;
    const settled = (error: unknown): void => {
      if (codeOf(error) === "COREWAL_CLOSED" && this.closing && hand !== this.hands[0]) return;
      if (codeOf(error) !== "COREWAL_OUTCOME_UNKNOWN" && codeOf(error) !== "COREWAL_POISONED") throw error;
      this.explain(error);
    };
    if (random.chance(0.5)) {
      const lsn = random.between(1, Math.max(1, hand.last));
      if (hand.last > 0) return this.listen(hand.writer.durable(lsn), () => this.prove(lsn, hand, "durable()"), settled);
    }
    const wanted = hand.last;
    this.listen(
      hand.writer.sync(),
      (lsn) => {
        if (lsn < wanted) throw new Violation(`sync() gives ${lsn}, but ${wanted} was written before`);
        this.prove(lsn, hand, "sync()");
      },
      settled,
    );
  }

  private async readBroken(): Promise<void> {
    // A follower comes to rest before, or it would meet the broken disk as well.
    await checkFollower(this.world, this.follower);
    await checkBrokenReading(this.world, this.log);
  }

  private async readOnly(): Promise<void> {
    if (this.world.oracle.proven > 0) await this.world.readOnly();
  }

  // --- writers that come and go --------------------------------------------------------------------

  private async attach(): Promise<void> {
    const { world } = this;
    if (this.hands.length >= world.config.writers) return;
    try {
      const writer = await attachLog(this.log.handle);
      this.hands.push({ writer, number: world.newId(), last: writer.lastLsn, queued: [] });
    } catch (error) {
      if (codeOf(error) !== "COREWAL_NO_STRIPE" || !this.haunted) throw error;
    }
  }

  private async detach(hand: Hand): Promise<void> {
    if (hand === this.hands[0]) return;
    const wanted = hand.last;
    this.hands.splice(this.hands.indexOf(hand), 1);
    try {
      await this.world.drive(hand.writer.close());
    } catch (error) {
      if (error instanceof Crashed || error instanceof Violation) throw error;
      return this.explain(error);
    }
    if (hand.queued.length > 0) throw new Violation(`a writer is closed, but ${hand.queued.length} of its appends have no answer`);
    this.prove(wanted, hand, "close() of a writer");
  }

  /** An entry that looks like frames, and the power fails while it is written. */
  private async forge(): Promise<void> {
    const { world, log } = this;
    await world.pump();
    const { segment, segmentsBegun, ringBytesUsed } = log.stats();
    // Only at rest, and in a segment of this process, is it known where the next frame will stand.
    if (segmentsBegun === 0 || ringBytesUsed > 0 || this.haunted || world.failed || world.disk.down) return;
    const hand = this.hands[0]!;
    const item = makeForgery(world.newId(), segment.offset + FRAME_HEADER_BYTES + ENTRY_HEADER_BYTES, 1900);
    const operation = this.begin(hand, [item]);
    this.track(hand, operation, hand.writer.append(item.value, { durability: "sync" }), true, (lsn) => lsn);
    world.disk.crashAt = world.disk.operations + world.random.between(1, 3);
    await world.pump();
  }

  // --- endings -------------------------------------------------------------------------------------

  /** Waits until everybody has an answer: with a disk that works, everybody gets one. */
  private async rest(): Promise<void> {
    const { world } = this;
    await world.pump();
    for (let waited = 0; this.open > 0 && !world.disk.down && !world.failed; waited++) {
      if (waited > 3000) throw new Violation(`${this.open} promises were not settled in ${waited} ms, although nothing failed`);
      world.clockMs += 1;
      await world.pump();
    }
  }

  /** A close that succeeds has made everything durable. */
  async close(): Promise<void> {
    const { world, log } = this;
    this.closing = true;
    await this.attempt(() => world.drive(log.close()));
    if (world.failed) return;
    await settle();
    world.check();
    if (this.open > 0) throw new Violation(`the log is closed, but ${this.open} promises are open`);
    for (const hand of this.hands) {
      if (hand.queued.some((operation) => !operation.refused)) throw new Violation("the log is closed, but an append has no answer");
      world.oracle.prove(hand.last, "close()");
    }
    await this.follower?.check("closed");
    if (world.isLocked) throw new Violation("the log is closed and still holds its lock");
    await expectRejection(log.append("late"), "COREWAL_CLOSED");
  }

  /** After a failed write or sync: whoever waited knows, whoever comes is told. */
  async poisoned(): Promise<void> {
    const { world, log } = this;
    await world.pump();
    await settle();
    world.check();
    if (this.open > 0) throw new Violation(`the log is poisoned, but ${this.open} promises are not settled`);
    await checkPoisoned(
      world,
      log,
      this.hands.map(({ writer }) => writer),
    );
    await this.follower?.check("COREWAL_POISONED");
    this.observe();
  }

  /** Close of a poisoned log: whatever it says, the lock must be free. */
  async closePoisoned(): Promise<void> {
    const { world, log } = this;
    await this.attempt(() => world.drive(log.close()));
    if (!world.disk.down && world.isLocked) throw new Violation("a poisoned log was closed and still holds its lock");
  }

  private async attempt(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (error instanceof Crashed || error instanceof Violation) throw error;
      if (this.world.disk.down) throw new Crashed();
      this.explain(error);
    }
  }
}
