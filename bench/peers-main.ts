// npm run bench:peers -- [--seconds N] [--directory DIR] [--json]
//
// The peers are installed in bench/node_modules by scripts/setup.mjs; only this file looks for them.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { benchPeers, classicLevelPeer, IN_FLIGHT, lmdbPeers, type ClassicLevel, type Lmdb } from "./peers.js";
import { durableCells, DURABLE_HEADS, n, parseCommand, print, row } from "./print.js";

// This file runs as build/js/bench/peers-main.js.
const folder = new URL("../../../bench/", import.meta.url);
const require = createRequire(new URL("package.json", folder));
const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, folder), "utf8")) as { version: string }).version;

const { seconds, ...options } = parseCommand(20);
const peers = [...lmdbPeers(require("lmdb") as Lmdb), classicLevelPeer(require("classic-level") as ClassicLevel)];
const report = await benchPeers(peers, {
  ...options,
  roundMs: (seconds * 1000) / options.rounds / (1 + IN_FLIGHT.length * (peers.length + 1)),
});
const versions = { lmdb: versionOf("lmdb"), "classic-level": versionOf("classic-level") };
print({ ...report, versions }, ({ raw, figures }) => {
  console.log(`lmdb ${versions.lmdb}, classic-level ${versions["classic-level"]}\n`);
  row("durable, 100 bytes each", ...DURABLE_HEADS, "× raw loop", "× lmdb");
  row(raw.name, ...durableCells(raw), n(1, 2));
  for (const f of figures) row(f.name, ...durableCells(f), n(f.timesRaw, 2), n(f.timesPeer, 2));
});
