// A log's memory is divided into banks: all that belongs to one flusher and its chain lies in one. A striped log has one
// bank with all stripes, a per-core log one for each core, with one stripe. An instance of the module works on the bank
// whose address it imports; addresses at its boundary are counted from there.

/** Where this instance's bank begins. */
// @ts-ignore: decorator
@external("env", "bank")
export declare const BANK: usize;
