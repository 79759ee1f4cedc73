// node --test tests/ui: the texts of the page, as tables.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const source = readFileSync(new URL("../../crates/cli/src/ui/page/text.js", import.meta.url));
const text = await import(`data:text/javascript;base64,${source.toString("base64")}`);

const row = (standing, fields = {}) => ({ standing, namespace: "chat", name: "a", current: 4, desired: 4, ready: 4, max: 8, ...fields });

test("the sentence says what needs a person and what moves", () => {
  const table = [
    [[], "There are no autoscalers here."],
    [["steady", "zero"], "All is well."],
    [["steady", "moving"], "All is well, 1 is moving."],
    [["trouble", "steady"], "1 of 2 needs a look."],
    [["trouble", "attention", "moving", "moving"], "2 of 4 need a look, 2 are moving."],
  ];
  for (const [standings, expected] of table) assert.equal(text.summary(standings.map((it) => row(it))), expected);
});

test("troubles come first, then names as people count", () => {
  const rows = [row("steady", { name: "m-10" }), row("steady", { name: "m-9" }), row("trouble", { name: "z" }), row("moving", { name: "y" })];
  assert.deepEqual(rows.sort(text.compare).map((it) => it.name), ["z", "y", "m-9", "m-10"]);
});

test("a size that is not written is no change", () => {
  const table = [
    [row("steady"), "4", "max 8"],
    [row("moving", { desired: 6 }), "4 → 6", "max 8"],
    [row("moving", { ready: 3 }), "4", "3 ready"],
    [row("paused", { desired: 6 }), "4", "max 8"],
    [row("recommending", { desired: 6 }), "4", "max 8"],
    [row("trouble", { current: null, desired: null, ready: null }), "–", ""],
  ];
  for (const [it, size, ready] of table) assert.deepEqual([text.sizeText(it), text.readyText(it)], [size, ready]);
});

test("durations and distances have two units at most", () => {
  const table = [[0, "0 s"], [85, "1 min 25 s"], [300, "5 min"], [900, "15 min"], [5430, "1 h 30 min"], [90_000, "1 d 1 h"], [2_592_000, "30 d"]];
  for (const [seconds, expected] of table) assert.equal(text.duration(seconds), expected);
  assert.deepEqual([text.distance(130, 100), text.distance(100, 130), text.distance(100, 100.4)], ["in 30 s", "30 s ago", "now"]);
});

test("a filter wants all of its words", () => {
  const it = row("steady", { name: "qwen3", reference: "StatefulSet/qwen3", headline: "4 wanted", summary: "waiting 4/5" });
  const table = [["", true], ["QWEN", true], ["chat stateful", true], ["chat llama", false]];
  for (const [filter, expected] of table) assert.equal(text.matches(it, text.wordsOf(filter)), expected);
});

test("names of the status become words", () => {
  const table = [["Needed", "needed"], ["HeldByWindow", "held by window"], ["OfALaterVersion", "of a later version"], ["held_by_doubt", "held by doubt"]];
  for (const [name, expected] of table) assert.equal(text.inWords(name), expected);
});

test("a bill is shares of GPU-hours, else of replica-hours, a young one of seconds, and may lack anything", () => {
  const reasons = [{ reason: "Needed", replicaSeconds: 3600, gpuSeconds: 14400 }, { reason: "HeldByWindow", replicaSeconds: 3600, gpuSeconds: 21600 }];
  const { unit, total, shares } = text.billShares({ reasons });
  assert.deepEqual([unit, total], ["GPU-hours", "10"]);
  assert.deepEqual(shares, [{ reason: "held by window", amount: "6.00", part: 0.6 }, { reason: "needed", amount: "4.00", part: 0.4 }]);
  const withoutGpus = text.billShares({ reasons: [{ reason: "Floor", replicaSeconds: 5400 }] });
  assert.deepEqual([withoutGpus.unit, withoutGpus.total], ["replica-hours", "1.50"]);
  const young = text.billShares({ reasons: [{ reason: "Floor", replicaSeconds: 30 }] });
  assert.deepEqual([young.unit, young.total, young.shares[0].amount], ["replica-seconds", "30", "30"]);
  for (const broken of [null, {}, { reasons: "x" }, { reasons: [null, {}, { gpuSeconds: "7" }] }]) assert.deepEqual(text.billShares(broken).shares, []);
});
