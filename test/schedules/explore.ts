// Who goes next: every way with so many preemptions, or by chance; and again, as it was.
//
// A switch is free where the running thread has to wait or is through, and a preemption where it could go on.
// A schedule is what was chosen at each place with a choice, where it was not the first: "17:1 40:2".

import { Random } from "../support/random.js";
import { Reached } from "./history.js";
import { KNOWN, Machine } from "./machine.js";
import { randomScenario, runSchedule, type Scenario } from "./scenarios.js";

export interface Found {
  failure: string;
  scenario: string;
  schedule: string;
}

/** What was chosen in one schedule, and how much there was to choose from. */
class Path {
  readonly chosen: number[] = [];
  readonly counts: number[] = [];
  length = 0;
  /** So many choices are made before the schedule begins; later ones are the first of each. */
  fixed = 0;

  /** Goes on to the next schedule: the last choice that has another one left. False if none has. */
  advance(): boolean {
    let place = this.length - 1;
    while (place >= 0 && this.chosen[place]! + 1 >= this.counts[place]!) place--;
    if (place < 0) return false;
    this.chosen[place]!++;
    this.fixed = place + 1;
    return true;
  }

  toString(): string {
    const parts: string[] = [];
    for (let i = 0; i < this.length; i++) if (this.chosen[i] !== 0) parts.push(`${i}:${this.chosen[i]}`);
    return parts.join(" ");
  }
}

export const preemptionsOf = ({ wide }: Scenario, most: number): number => (wide ? Math.max(0, most - 1) : most);

export class Explorer {
  readonly machine = new Machine();
  schedules = 0;
  private explored: Scenario | undefined;

  /**
   * Every schedule with up to so many preemptions, one less in wide scenarios, but those that come to the same as another one:
   * - A preemption before an access that conflicts with nobody's comes to the same as one before that thread's next
   *   access that does. What conflicts is learned on the way; as soon as another word does, everything begins anew.
   * - The same if nobody made use of it (Machine.thrifty).
   * - A state that was reached before, with as many preemptions left, ends the schedule (history.ts).
   */
  exhaust(scenario: Scenario, most: number): { found?: Found; schedules: number; states: number } {
    const { machine } = this;
    const preemptions = preemptionsOf(scenario, most);
    if (scenario !== this.explored) machine.forget();
    this.explored = scenario;
    machine.thrifty = true;
    const reached = new Reached();
    const path = new Path();
    let known = machine.contendedCount;
    let used = 0;
    const choose = (count: number, at?: number): number => {
      const place = path.length++;
      const preempt = at !== undefined;
      const useful = !preempt || machine.contended[at >> 2] === 1;
      if (place >= path.fixed) {
        path.chosen[place] = 0;
        path.counts[place] = 1;
        if (useful && !reached.add(machine.reached(), preemptions - used)) throw KNOWN;
      }
      path.counts[place] = useful && (!preempt || used < preemptions) ? count : 1;
      const choice = path.chosen[place]!;
      if (preempt && choice !== 0) used++;
      return choice;
    };
    for (let schedules = 1; ; schedules++) {
      used = path.length = 0;
      this.schedules++;
      const failure = runSchedule(machine, scenario, choose);
      if (failure !== undefined && failure !== KNOWN.message)
        return { found: { failure, scenario: scenario.name, schedule: path.toString() }, schedules, states: reached.count };
      if (machine.contendedCount > known) {
        known = machine.contendedCount;
        path.fixed = schedules = 0;
        reached.clear();
      } else if (!path.advance()) {
        return { schedules, states: reached.count };
      }
    }
  }

  /** One random schedule of a random scenario; both follow from the seed. */
  chance(seed: number, trace?: (text: string) => void): Found | undefined {
    const random = new Random(seed);
    const scenario = randomScenario(seed, random);
    // From many preemptions, one at every other access, to few.
    const often = 2 ** -random.between(1, 6);
    const choose = (count: number, at?: number): number =>
      at === undefined ? random.below(count) : random.chance(often) ? 1 + random.below(count - 1) : 0;
    this.schedules++;
    this.machine.thrifty = false;
    const failure = runSchedule(this.machine, scenario, choose, trace);
    return failure === undefined ? undefined : { failure, scenario: scenario.name, schedule: "" };
  }

  /** A schedule as exhaust() wrote it down. */
  replay(scenario: Scenario, schedule: string, trace?: (text: string) => void): string | undefined {
    const chosen = new Map(schedule.split(" ").map((part) => part.split(":").map(Number) as [number, number]));
    let place = 0;
    this.machine.thrifty = true;
    const failure = runSchedule(this.machine, scenario, () => chosen.get(place++) ?? 0, trace);
    return failure === KNOWN.message ? undefined : failure;
  }
}
