// Where the lags of assembly/crc32c.ts come from: a search for sparse multiples of the CRC32C generator. A test runs it.

/** The generator of CRC32C without its x^32, highest power first. */
const GENERATOR = 0x1edc6f41;
/** Lanes of a vector, bytes. */
const LANES = 16;

/** powers[i] = x^i modulo the generator. */
function powersUpTo(degree: number): Int32Array {
  const powers = new Int32Array(degree + 1);
  powers[0] = 1;
  for (let i = 1; i <= degree; i++) powers[i] = (powers[i - 1]! << 1) ^ (powers[i - 1]! < 0 ? GENERATOR : 0);
  return powers;
}

/** Is x^n + x^(n - lag) + … + x^0, where n is the largest lag, a multiple of the generator? */
export function isMultiple(lags: number[]): boolean {
  const n = Math.max(...lags);
  const powers = powersUpTo(n);
  return lags.reduce((sum, lag) => sum ^ powers[n - lag]!, powers[n]!) === 0;
}

/** How many times bytes have to be moved across vectors for each vector: lags that differ by whole vectors share it. */
export const shuffles = (lags: number[]): number => new Set(lags.map((lag) => lag % LANES).filter((by) => by > 0)).size;

/**
 * All multiples of degree up to `degreeMax` with seven lags of at least 16 bytes, the one with the fewest shuffles
 * first. (The generator is divisible by x + 1, so the number of lags is odd; with five they reach 209 bytes back, and
 * with three 5,275: P. Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications", 2002.)
 */
export function searchLags(degreeMax: number): number[][] {
  const powers = powersUpTo(degreeMax);
  // Meet in the middle: 1 + x^a + x^b + x^c here, x^d + x^e + x^f + x^n there.
  const halves = new Map<number, [number, number, number][]>();
  for (let a = 1; a < degreeMax; a++)
    for (let b = a + 1; b < degreeMax; b++)
      for (let c = b + 1; c < degreeMax; c++) {
        const sum = 1 ^ powers[a]! ^ powers[b]! ^ powers[c]!;
        const same = halves.get(sum);
        if (same === undefined) halves.set(sum, [[a, b, c]]);
        else same.push([a, b, c]);
      }
  const found: number[][] = [];
  for (let n = 32; n <= degreeMax; n++)
    for (let d = 4; d <= n - LANES; d++)
      for (let e = d + 1; e <= n - LANES; e++)
        for (let f = e + 1; f <= n - LANES; f++)
          for (const [a, b, c] of halves.get(powers[n]! ^ powers[d]! ^ powers[e]! ^ powers[f]!) ?? [])
            if (c < d) found.push([f, e, d, c, b, a, 0].map((power) => n - power));
  return found.sort((p, q) => shuffles(p) - shuffles(q) || p.at(-1)! - q.at(-1)!);
}
