// One life of a process that has the log open: what it does, and what it is told, which goes to the oracle.

import { ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, GUEST_FRAMES, LOG_EPOCH, LOG_RECORDED, TIME_BYTES } from "../../assembly/layout.js";
import { codeOf } from "../../src/errors.js";
import { attachLog, PUMP } from "../../src/log.js";
import type { Durability, Wait, Writer } from "../../src/types.js";
import type { StripeWriter } from "../../src/writer.js";
import { checkBrokenReading, checkPoisoned, checkReading, expectRejection } from "./checks.js";
import { DEATHS } from "./counts.js";
import { cutEnd } from "./cut-end.js";
import { dieAt, interrupt, published, seeEnd, tookLsns } from "./dead-thread.js";
import { checkFollower, checkFollowers, Follower } from "./follower.js";
import { insidesOf } from "./insides.js";
import { inputOf, makeBatch, makeForgery, makeItem, makeTiny, scribble } from "./items.js";
import { Violation, type Item, type Operation, type Oracle } from "./oracle.js";
import type { Operation as DiskOperation } from "./simulated-disk.js";
import { UpkeepSteps } from "./upkeep-steps.js";
import { Crashed, settle, type DrivenLog, type World } from "./world.js";

const DAY_MS = 86_400_000;
const ASYNC: Wait = { durability: "async" };
/** Of an append: before and after it is pending, with its LSN, and with that in its header. */
const POINTS = [1, 2, 3, 4];
const ORDER: Durability[] = ["async", "group", "sync"];

interface Hand {
  writer: Writer;
  number: number;
  /** Highest LSN seen from it. */
  last: number;
  /** Called and not yet known to be in the ring. */
  queued: Operation[];
  /** Promises without an answer. */
  open: number;
  /** Calls of advanceEpoch without one. */
  barriers: number;
  /** It was closed, and the log goes on. */
  detached: boolean;
}

const newHand = (writer: Writer, number: number): Hand => ({
  writer,
  number,
  last: writer.lastLsn,
  queued: [],
  open: 0,
  barriers: 0,
  detached: false,
});

export class Session {
  private readonly hands: Hand[];
  private alive = true;
  private open = 0;
  /** Threads that died while they appended; of those behind `seen` the end was not seen. */
  private readonly dead: Hand[] = [];
  private seen = 0;
  /** Its thread is blocked in a call. */
  private blocked: Hand | undefined;
  private closing = false;
  /** Chains that only recovery has written to may have been left without a footer. */
  halfSealed = false;
  private durableSeen: number[];
  private follower: Follower | undefined;
  private readonly upkeep: UpkeepSteps | undefined;

  constructor(
    private readonly world: World,
    private readonly log: DrivenLog,
  ) {
    this.hands = [newHand(log, 0)];
    this.durableSeen = log.durablePositions();
    if (world.config.upkeep)
      this.upkeep = new UpkeepSteps({
        world,
        log,
        listen: (promise, resolved, rejected) => this.listen(this.hands[0]!, promise, resolved, rejected),
        explain: (error) => this.explain(error),
        append: () => this.append(this.hands[0]!),
        isAlive: () => this.alive,
        isClosing: () => this.closing,
        follower: () => this.follower,
      });
    world.meanwhile = (operation) => this.meanwhile(operation);
  }

  /** The process is dead: nothing that its promises still say counts. */
  end(): void {
    if (!this.alive) return;
    this.alive = false;
    this.world.meanwhile = undefined;
    // In a process that is killed, timers that keep it alive are gone as well.
    for (const { writer } of [...this.hands.slice(1), ...this.dead]) (writer as Writer & { end?: () => void }).end?.();
    this.upkeep?.end();
    // Last: it closes files, and a crash may strike there.
    this.follower?.stop();
  }

  /** Does `steps` random things, or fewer if the machine or the log dies. */
  async run(steps: number): Promise<void> {
    const { world } = this;
    const life = world.random;
    const all = world.random.chance(0.5);
    if (all) for (let n = 1; n < world.config.writers; n++) await this.attach();
    const joins = !all && this.log.recovery.cores.some(({ core, copied }) => core > 0 && copied !== undefined);
    if (world.random.chance(0.4)) {
      const core = world.whole.perCore ? world.random.below(world.config.options.stripes!) : 0;
      this.follower = new Follower(world, this.log, core);
    }
    for (let i = 0; i < steps; i++) {
      // A stream of its own, so that a failing run can be shrunk step by step.
      world.random = life.fork();
      await (joins && i === 0 ? this.join() : this.step());
      this.upkeep?.proceed();
      await world.still();
      world.random = life;
      this.observe();
      world.check();
      if (world.disk.down) throw new Crashed();
      if (world.failed) return;
    }
  }

  private async step(): Promise<void> {
    const { world } = this;
    const { random } = world;
    const roll = random.below((this.upkeep === undefined ? 110 : 136) + (world.config.restores ? 2 : 0));
    const hand = random.pick(this.hands);
    if (roll === 0) return;
    if (roll < 30) this.append(hand);
    else if (roll < 40) this.write(hand);
    else if (roll < 48 && world.config.batches) this.appendBatch(hand);
    else if (roll < 70) await world.pump(random.pick([1, 1, 2, 2000]));
    else if (roll < 73) this.appendSync(hand);
    else if (roll < 76) this.waitFor(hand);
    else if (roll < 79) world.pass(random.pick([1, 5, 20, 1000]));
    else if (roll < 80) world.setClock(random.pick([-3000, -20, 60_000, -DAY_MS, DAY_MS]));
    else if (roll < 84) await this.attach();
    else if (roll < 86) await this.detach(hand);
    else if (roll < 88) await checkReading(world, this.log);
    else if (roll < 89) await checkFollowers(world, this.follower);
    else if (roll < 90) await this.readOnly();
    else if (roll < 91) await this.readBroken();
    else if (roll < 92) this.loseThread();
    else if (roll < 93) await this.forge();
    else if (roll < 95) await this.burst();
    else if (roll < 98) await this.idle();
    else if (roll < 100) await this.rest();
    else if (roll < 103) await this.advance();
    else if (roll < 104) this.beginEpoch();
    else if (roll < 108) this.overtake(hand);
    else if (roll < 110) await this.join();
    else if (roll < 136 && this.upkeep !== undefined) await this.upkeep.step();
    else await this.restore();
  }

  // --- appending ---------------------------------------------------------------------------------

  private items(): Item[] {
    const { random, config } = this.world;
    return [makeItem(random, this.world.newId(), config.size(random), random.chance(0.7) ? "data" : "all")];
  }

  private batch(): Item[] {
    const { random, config } = this.world;
    return makeBatch(
      random,
      () => this.world.newId(),
      () => config.size(random),
    );
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
    const items = this.batch();
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
      this.blocked = hand;
      const lsn = this.world.block(() => hand.writer.write(input));
      this.learn(hand, operation, lsn);
    } catch (error) {
      this.refuse(hand, operation, error);
    } finally {
      this.blocked = undefined;
    }
    scribble(input);
  }

  private appendSync(hand: Hand): void {
    const operation = this.begin(hand, this.items());
    try {
      this.blocked = hand;
      const lsn = this.world.block(() => hand.writer.appendSync(inputOf(operation.items[0]!)));
      const { i32 } = insidesOf(this.log).core;
      if (i32[GUEST_FRAMES >> 2]! > 0) this.world.count("flushed by the opener itself");
      this.learn(hand, operation, lsn);
      this.prove(lsn, hand, "appendSync");
    } catch (error) {
      const code = codeOf(error);
      if (code === "COREWAL_OUTCOME_UNKNOWN") this.explain(error);
      else this.refuse(hand, operation, error);
    } finally {
      this.blocked = undefined;
    }
  }

  /** What another thread does while the flusher, or its guest, is in an operation of the disk. It may not pump. */
  private meanwhile(operation: DiskOperation): void {
    const { world } = this;
    const { random } = world;
    // Whoever closes the log appends nothing to it any more; other threads may.
    const hands = this.hands.filter((hand) => hand !== this.blocked && !(this.closing && hand === this.hands[0]));
    if (hands.length === 0) return;
    const hand = random.pick(hands);
    const roll = random.below(10);
    if (random.chance(0.1)) this.beginEpoch();
    if (roll < 6) this.append(hand);
    else if (roll < 8 && world.config.batches) this.appendBatch(hand);
    else if (roll < 9) world.pass(random.pick([1, 5, 20]));
    else this.loseThread("during a flush");
    if (roll < 8) world.count(`append during a flush's ${operation}`);
    // A durable LSN that was published too early shows here.
    this.observe();
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
    world.pass(10);
    await world.pump();
    if (world.random.chance(0.5)) this.append(world.random.pick(this.hands));
  }

  private begin(hand: Hand, items: Item[]): Operation {
    const { whole } = this.world;
    if (whole.perCore) whole.stamp(items, this.log);
    const operation = this.oracleOf(hand).begin(hand.number, items, this.log.epoch);
    hand.queued.push(operation);
    this.world.trace(
      `writer ${hand.number} appends ids ${items.map((item) => item.id).join(" ")}, ${items.map((item) => item.value.length).join(" ")} bytes`,
    );
    return operation;
  }

  /** The chain that it writes. */
  private coreOf(hand: Hand): number {
    return this.world.whole.perCore ? hand.writer.ownCore : 0;
  }

  private oracleOf(hand: Hand): Oracle {
    return this.world.whole.of(this.coreOf(hand));
  }

  private track<T>(hand: Hand, operation: Operation, promise: Promise<T>, durable: boolean, firstOf: (result: T) => number): void {
    this.observeHand(hand);
    this.listen(
      hand,
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
  private listen<T>(hand: Hand, promise: Promise<T>, resolved: (value: T) => void, rejected: (error: unknown) => void): void {
    this.open++;
    hand.open++;
    const judged =
      <A>(judge: (value: A) => void) =>
      (value: A) => {
        if (!this.alive || this.dead.includes(hand)) return;
        this.open--;
        hand.open--;
        try {
          judge(value);
        } catch (error) {
          this.world.violation ??= error as Error;
        }
      };
    promise.then(judged(resolved), judged(rejected));
  }

  private learn(hand: Hand, operation: Operation, first: number): void {
    this.world.trace(`writer ${hand.number} has LSN ${first} of core ${this.coreOf(hand)} for id ${operation.items[0]!.id}`);
    this.oracleOf(hand).learn(operation, first, this.log.epoch);
    hand.queued = hand.queued.filter((other) => other !== operation);
    hand.last = Math.max(hand.last, first + operation.items.length - 1);
  }

  private prove(lsn: number, hand: Hand, by: string): void {
    this.world.trace(`durable up to ${lsn} by ${by}`);
    if (hand.writer.durableLsn < lsn) throw new Violation(`${by} is done at LSN ${lsn}, but durableLsn is ${hand.writer.durableLsn}`);
    this.oracleOf(hand).prove(lsn, by);
  }

  /** The log says that each chain is durable up to where this vector says. */
  private proveAll(positions: number[], by: string): void {
    const durable = this.log.durablePositions();
    for (const [core, lsn] of positions.entries()) {
      if (durable[core]! < lsn) throw new Violation(`${by} is done at LSN ${lsn} of core ${core}, which is durable up to ${durable[core]}`);
      this.world.whole.of(core).prove(lsn, by);
    }
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
    const durable = this.log.durablePositions();
    const positions = this.log.positions();
    for (const [core, lsn] of durable.entries()) {
      if (lsn < this.durableSeen[core]!) throw new Violation(`durableLsn of core ${core} went from ${this.durableSeen[core]} to ${lsn}`);
      if (lsn > positions[core]!) throw new Violation(`core ${core} is durable up to ${lsn}, and ends at ${positions[core]}`);
      this.world.whole.of(core).prove(lsn, "durableLsn");
      if (lsn > this.durableSeen[core]! && this.durableSeen[core] === 0 && durable.some((other, n) => n !== core && other > 0))
        this.world.count("chain made beside others");
      // The segment's header says so, too.
      if (lsn > this.durableSeen[core]!) this.world.whole.tellComplete(this.log.recovery.completeEpoch);
    }
    if (this.log.durableLsn !== durable[0])
      throw new Violation(`durableLsn is ${this.log.durableLsn}, durablePositions() ${durable.join()}`);
    this.durableSeen = durable;
    this.upkeep?.observe();
    this.checkBounds();
  }

  /** Rings and queues hold what the options say, and never more. */
  private checkBounds(): void {
    const { ringBytes = 0, stripes = 0, queueBytes = 0 } = this.world.config.options;
    const used = this.log.stats().ringBytesUsed;
    if (used > ringBytes * stripes) throw new Violation(`the rings hold ${used} bytes and have ${ringBytes * stripes}`);
    for (const { writer, number } of this.hands) {
      const { bytes } = (writer as unknown as { queue: { bytes: number } }).queue;
      if (bytes > queueBytes) throw new Violation(`the queue of writer ${number} holds ${bytes} bytes; queueBytes is ${queueBytes}`);
    }
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
    const settled = (error: unknown): void => {
      if (codeOf(error) === "COREWAL_CLOSED" && this.closing && hand !== this.hands[0]) return;
      if (codeOf(error) !== "COREWAL_OUTCOME_UNKNOWN" && codeOf(error) !== "COREWAL_POISONED") throw error;
      this.explain(error);
    };
    if (random.chance(0.5)) {
      const core = this.coreOf(hand);
      const lsn = random.between(1, Math.max(1, hand.last));
      const where = this.world.whole.perCore || random.chance(0.2) ? { core, lsn } : lsn;
      if (hand.last > 0) return this.listen(hand, hand.writer.durable(where), () => this.prove(lsn, hand, "durable()"), settled);
    }
    const positions = this.log.positions();
    if (random.chance(0.3)) {
      // Some of it, of any chain.
      const wanted = positions.map((lsn) => (random.chance(0.7) ? lsn : random.between(0, lsn)));
      return this.listen(hand, hand.writer.durable(wanted), () => this.proveAll(wanted, "durable(vector)"), settled);
    }
    const wanted = hand.last;
    this.listen(
      hand,
      hand.writer.sync(),
      (lsn) => {
        if (lsn < wanted) throw new Violation(`sync() gives ${lsn}, but ${wanted} was written before`);
        this.prove(lsn, hand, "sync()");
        this.proveAll(positions, "sync()");
      },
      settled,
    );
  }

  // --- epochs ------------------------------------------------------------------------------------

  /** One writer or several advance the epoch at once. */
  private async advance(): Promise<void> {
    const { world, log } = this;
    for (let n = world.random.pick([1, 1, 2, 3]); n > 0; n--) {
      const hand = world.random.pick(this.hands);
      const { epoch } = log;
      const positions = log.positions();
      world.trace(`writer ${hand.number} advances the epoch from ${epoch}, positions ${positions.join()}`);
      for (const { queued } of this.hands) if (queued.length > 0) world.count("barrier while a writer waits for space");
      if (this.dead.length > this.seen) world.count("barrier after a thread's death that nobody saw");
      if (this.hands.some(({ barriers }) => barriers > 0)) world.count("several barriers at once");
      hand.barriers++;
      world.barriers++;
      const promise = hand.writer.advanceEpoch();
      const answered = (): void => {
        hand.barriers--;
        world.barriers--;
      };
      promise.then(answered, answered);
      this.listen(
        hand,
        promise,
        (began) => {
          world.trace(`epoch ${began} has begun for writer ${hand.number}`);
          world.count(`epoch advanced, ${world.whole.topology}`);
          if (began <= epoch || began > log.epoch)
            throw new Violation(`advanceEpoch() gives ${began}; it was called in epoch ${epoch}, now it is ${log.epoch}`);
          world.whole.prove(began);
          this.proveAll(positions, "advanceEpoch()");
        },
        (error) => {
          if (codeOf(error) === "COREWAL_CLOSED" && (this.closing || hand.detached)) return;
          if (codeOf(error) !== "COREWAL_POISONED") throw error;
          this.explain(error);
        },
      );
      await settle();
    }
    if (world.disk.crashAt === Infinity && world.random.chance(0.3))
      world.disk.crashAt = world.disk.operations + world.random.between(1, 12);
  }

  /** Another thread begins an epoch, and waits for nothing: it may have died. */
  private beginEpoch(): boolean {
    const { i64 } = insidesOf(this.log).core.log;
    const epoch = Atomics.load(i64, LOG_EPOCH >> 3);
    // The next one is not begun before the last one's barrier is through.
    if (Atomics.load(i64, LOG_RECORDED >> 3) < epoch) return false;
    Atomics.store(i64, LOG_EPOCH >> 3, epoch + 1n);
    this.world.trace(`epoch ${epoch + 1n} begins, and nobody waits for it`);
    this.world.count("epoch begun by a thread that died");
    return true;
  }

  /** While an append is at one of its steps, other threads go on. */
  private overtake(hand: Hand): void {
    const { world, log } = this;
    const { random } = world;
    if (hand.queued.length > 0) return;
    const point = random.pick(POINTS);
    const others = this.hands.filter((other) => other !== hand);
    const meanwhile = (): void => {
      world.trace(`… meanwhile, at point ${point}`);
      if (random.chance(0.8) && this.beginEpoch()) world.count("epoch begun while an append is on its way");
      for (let n = random.below(3); n > 0; n--) {
        if (others.length > 0 && random.chance(0.6)) this.append(random.pick(others));
        else log[PUMP]();
      }
    };
    interrupt(point, meanwhile, () => {
      this.blocked = hand;
      world.alone = true;
      try {
        if (world.config.batches && random.chance(0.5)) this.appendBatch(hand);
        else this.append(hand);
      } finally {
        this.blocked = undefined;
        world.alone = false;
      }
    });
  }

  private async readBroken(): Promise<void> {
    // A follower comes to rest before, or it would meet the broken disk as well.
    await checkFollower(this.world, this.follower);
    await checkBrokenReading(this.world, this.log);
  }

  private async restore(): Promise<void> {
    // Nobody else pumps meanwhile.
    await this.world.still();
    if (!this.world.failed) await this.world.restores.restore(true);
  }

  private async readOnly(): Promise<void> {
    if (this.world.whole.exists) await this.world.readOnly(this.world.random.chance(0.7));
  }

  // --- writers that come and go --------------------------------------------------------------------

  private async attach(): Promise<void> {
    const { world } = this;
    const { writers, options } = world.config;
    if (this.hands.length >= Math.min(writers, options.stripes!)) return;
    try {
      const writer = await attachLog(this.log.handle);
      this.hands.push(newHand(writer, world.newId()));
    } catch (error) {
      // Dropping takes a core that nobody has for a moment.
      if (codeOf(error) !== "COREWAL_NO_STRIPE" || (this.seen === this.dead.length && world.upkeep === 0)) throw error;
    }
  }

  /** Somebody comes while an epoch begins, or after that, which did not wait for him. */
  private async join(): Promise<void> {
    const { world } = this;
    const { random, disk } = world;
    if (random.chance(0.5)) {
      await this.advance();
      await world.pump(2000);
      if (disk.down || world.failed) return;
      await this.attach();
    } else if (this.beginEpoch()) {
      await this.attach();
    }
    this.append(this.hands.at(-1)!);
    // What a chain says of epochs it says in the first frames.
    if (disk.crashAt === Infinity && random.chance(0.5)) disk.crashAt = disk.operations + random.between(1, 8);
    await world.pump(random.pick([1, 2, 2000]));
  }

  /** A writer's thread dies at one step of an append; or it died before, and now its end is seen. */
  private loseThread(when?: "during a flush"): void {
    const { world, log } = this;
    const { random } = world;
    if (this.seen < this.dead.length && random.chance(0.5)) return this.seeEnd();
    // The opener's thread dies with the process. One that waits for space has no append that could be ended.
    const hand = this.hands.at(-1)!;
    if (hand === this.hands[0] || hand === this.blocked || hand.queued.length > 0 || hand.barriers > 0) return;
    const death = random.pick(DEATHS);
    const { drive } = insidesOf(log);
    const core = (hand.writer as StripeWriter).bank;
    const items = world.config.batches && random.chance(0.5) ? this.batch() : this.items();
    const operation = this.begin(hand, items);
    const before = core.x.log_last_lsn();
    const { died, promise } = dieAt(death, () => hand.writer.appendBatch(items.map(inputOf), ASYNC));
    if (!died) return this.track(hand, operation, promise as Promise<{ first: number }>, this.isDurable(ASYNC), ({ first }) => first);
    world.count(`thread died ${death}`);
    if (when !== undefined) world.count(`thread died ${when}`);
    world.trace(`the thread of writer ${hand.number} dies ${death}`);
    const lsns = tookLsns(death) ? items.length : 0;
    if (core.x.log_last_lsn() !== before + lsns)
      throw new Violation(`a thread that died ${death} took ${core.x.log_last_lsn() - before} LSNs`);
    const oracle = this.oracleOf(hand);
    if (published(death)) oracle.learn(operation, before + 1, log.epoch);
    else operation.refused = true;
    if (lsns > 0 && !published(death)) oracle.lose(before + 1, lsns);
    this.hands.pop();
    this.dead.push(hand);
    this.open -= hand.open;
    drive.writers.delete(hand.writer as StripeWriter);
    if (random.chance(0.5)) this.seeEnd();
  }

  /** The end of the thread that died first of those that nobody has missed yet. */
  private seeEnd(): void {
    const hand = this.dead[this.seen++]!;
    this.world.count("dead thread seen to end");
    this.world.trace(`the end of writer ${hand.number}'s thread is seen`);
    const { bank, stripe } = hand.writer as StripeWriter;
    seeEnd(bank, stripe);
  }

  private async detach(hand: Hand): Promise<void> {
    if (hand === this.hands[0]) return;
    const wanted = hand.last;
    this.hands.splice(this.hands.indexOf(hand), 1);
    hand.detached = true;
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
    const { segment, segmentsBegun, ringBytesUsed, lastLsn, durableLsn } = log.stats();
    // Only at rest, and in a segment of this process, is it known where the next frame will stand.
    if (segmentsBegun === 0 || ringBytesUsed > 0 || lastLsn > durableLsn || world.failed || world.disk.down) return;
    const hand = this.hands[0]!;
    const before = FRAME_HEADER_BYTES + ENTRY_HEADER_BYTES + (world.whole.perCore ? TIME_BYTES : 0);
    const item = makeForgery(world.newId(), segment.offset + before, 1900);
    const operation = this.begin(hand, [item]);
    this.track(hand, operation, hand.writer.append(item.value, { durability: "sync" }), true, (lsn) => lsn);
    world.disk.crashAt = world.disk.operations + world.random.between(1, 3);
    await world.pump();
  }

  /** What failed was the end of a chain that only recovery has written to: close() says so, and nothing is lost. */
  get allDurable(): boolean {
    const { recovery } = this.log;
    return (
      this.closing && this.log.stats().state === "closed" && recovery.cores.some(({ core, copied }) => core > 0 && copied !== undefined)
    );
  }

  // --- endings -------------------------------------------------------------------------------------

  /** Waits until everybody has an answer: with a disk that works, everybody gets one. */
  private async rest(): Promise<void> {
    const { world } = this;
    await world.pump();
    for (let waited = 0; this.open > 0 && !world.disk.down && !world.failed; waited++) {
      this.upkeep?.release();
      if (waited > 3000) throw new Violation(`${this.open} promises were not settled in ${waited} ms, although nothing failed`);
      world.pass(1);
      await world.pump();
    }
  }

  /** See cutEnd. */
  cut(): Promise<DrivenLog | undefined> {
    return cutEnd({
      world: this.world,
      log: this.log,
      upkeep: this.upkeep,
      hasFollower: this.follower !== undefined,
      rest: () => this.rest(),
      closing: (closing) => (this.closing = this.world.closing = closing),
      openPromises: () => this.open,
    });
  }

  /** A close that succeeds has made everything durable. */
  async close(): Promise<void> {
    const { world, log } = this;
    this.closing = world.closing = true;
    if (this.upkeep !== undefined && world.random.chance(0.7)) this.upkeep.release();
    await this.attempt(() => world.drive(log.close()));
    // At the last operation, the guest's close, which tells nobody.
    if (world.disk.down) throw new Crashed();
    if (world.failed) return;
    await settle();
    // Whoever opens the log next has it for himself.
    const { mutations } = world.disk;
    this.upkeep?.release(true);
    await world.quiet();
    world.check();
    if (world.disk.down) throw new Crashed();
    if (world.disk.mutations !== mutations) throw new Violation("the log is closed, and still it changes files");
    if (this.open > 0) throw new Violation(`the log is closed, but ${this.open} promises are open`);
    for (const hand of this.hands) {
      if (hand.queued.some((operation) => !operation.refused)) throw new Violation("the log is closed, but an append has no answer");
      this.oracleOf(hand).prove(hand.last, "close()");
    }
    await this.follower?.check("closed");
    if (world.isLocked) throw new Violation("the log is closed and still holds its lock");
    await expectRejection(log.append("late"), "COREWAL_CLOSED");
    await expectRejection(log.advanceEpoch(), "COREWAL_CLOSED");
  }

  /** After a failed write or sync: whoever waited knows, whoever comes is told. */
  async poisoned(): Promise<void> {
    const { world, log } = this;
    await world.pump();
    await settle();
    this.upkeep?.release(true);
    await world.quiet();
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
      // It was sealed and synced before.
      if (this.allDurable && this.world.disk.lastFailure === "EIO in close") return void (this.halfSealed = true);
      this.explain(error);
    }
  }
}
