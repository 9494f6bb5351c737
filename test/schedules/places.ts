// What the words of shared memory are called, for whoever reads a trace or a failure.

import * as L from "../../assembly/layout.js";

/** The log's. */
const LOG_WORDS: [number, string][] = [
  [L.CTL_STATE, "log state"],
  [L.LOG_EPOCH, "epoch"],
  [L.LOG_COMPLETE, "complete"],
  [L.LOG_RECORDED, "recorded"],
  [L.LOG_BARRIER_WAKE, "BARRIER_WAKE"],
  [L.LOG_ACKED_NS, "acknowledged time"],
  [L.LOG_CORES, "cores"],
];
/** A bank's. */
const WORDS: [number, string][] = [
  [L.CTL_NEXT_LSN, "next LSN"],
  [L.CTL_DURABLE_LSN, "durable LSN"],
  [L.CTL_WAKE, "WAKE"],
  [L.CTL_SLEEP, "SLEEP"],
  [L.CTL_STRIPE_HIGH, "stripes claimed"],
  [L.CTL_EPOCH_DONE, "epoch begun"],
  [L.CTL_DEMAND, "others' demand"],
  [L.MERGE_EPOCH, "epoch of the frames"],
];
const STRIPE_WORDS: [number, string][] = [
  [L.STRIPE_STATE, "state word"],
  [L.STRIPE_TIME, "time"],
  [L.STRIPE_HEAD, "head"],
  [L.STRIPE_SPACE_WANTED, "space wanted"],
  [L.STRIPE_OWNER, "owner"],
  [L.STRIPE_DEMAND_GROUP, "demand"],
  [L.STRIPE_DEMAND_SYNC, "sync demand"],
];

export function placeName(at: number, bankBytes: number): string {
  const found = ([address]: [number, string]): boolean => address === at % bankBytes;
  const bank = Math.floor(at / bankBytes);
  const end = bank === 0 ? "" : ` of bank ${bank}`;
  const word = (bank === 0 ? LOG_WORDS.find(found) : undefined) ?? WORDS.find(found);
  if (word !== undefined) return word[1] + end;
  const stripe = Math.floor(((at % bankBytes) - L.STRIPE_BLOCKS) / L.STRIPE_BYTES);
  const inStripe = STRIPE_WORDS.find(([offset]) => at % bankBytes === L.STRIPE_BLOCKS + stripe * L.STRIPE_BYTES + offset);
  return inStripe === undefined || stripe < 0 || stripe >= L.STRIPES_MAX ? `address ${at}` : `${inStripe[1]} of stripe ${stripe}${end}`;
}
