// What the words of shared memory are called, for whoever reads a trace or a failure.

import * as L from "../../assembly/layout.js";

const WORDS: [number, string][] = [
  [L.CTL_NEXT_LSN, "next LSN"],
  [L.CTL_DURABLE_LSN, "durable LSN"],
  [L.CTL_WAKE, "WAKE"],
  [L.CTL_STATE, "log state"],
  [L.CTL_SLEEP, "SLEEP"],
  [L.CTL_STRIPE_HIGH, "stripes claimed"],
];
const STRIPE_WORDS: [number, string][] = [
  [L.STRIPE_STATE, "state word"],
  [L.STRIPE_HEAD, "head"],
  [L.STRIPE_SPACE_WANTED, "space wanted"],
  [L.STRIPE_OWNER, "owner"],
  [L.STRIPE_DEMAND_GROUP, "demand"],
  [L.STRIPE_DEMAND_SYNC, "sync demand"],
];

export function placeName(at: number): string {
  const word = WORDS.find(([address]) => address === at);
  if (word !== undefined) return word[1];
  const stripe = Math.floor((at - L.STRIPE_BLOCKS) / L.STRIPE_BYTES);
  const inStripe = STRIPE_WORDS.find(([offset]) => at === L.STRIPE_BLOCKS + stripe * L.STRIPE_BYTES + offset);
  return inStripe === undefined || stripe < 0 || stripe >= L.STRIPES_MAX ? `address ${at}` : `${inStripe[1]} of stripe ${stripe}`;
}
