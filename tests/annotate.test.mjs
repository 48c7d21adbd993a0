// The rules of annotating, in Node: `node --test tests/annotate.test.mjs`. With a file of cases as NSW_CASES, print what JavaScript makes of them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import * as annotate from "../nsw_da_medical_image/viewer/static/annotate.js";

/** Apply [[action, phase, run], ...]; return the text of both files after each. */
function play({ actions, last, published, base }) {
  const record = { video: "A-1", reader: "Ann \u00e9", last, start: base ? "published" : "empty", blind: !published, changes: [] };
  const add = (change) => record.changes.push({ at: "2026-01-02T03:04:05Z", reader: record.reader, ...change });
  if (base) add(annotate.makeChange(annotate.replay([]), "start", base, published));
  return actions.map(([action, phase, run]) => {
    const now = annotate.replay(record.changes);
    const runs = annotate.runsAfter(now, action, phase, run);
    if (Object.keys(runs).length) add(annotate.makeChange(now, action, runs, published));
    const { onsets } = annotate.replay(record.changes);
    return [annotate.phasesCsv(onsets, last), annotate.recordJson(record), annotate.outOfOrder(onsets)];
  });
}

if (process.env.NSW_CASES) {
  process.stdout.write(`\nRESULT${JSON.stringify(JSON.parse(readFileSync(process.env.NSW_CASES, "utf-8")).map(play))}\n`);
}

test("rows follow from onsets", () => {
  assert.equal(annotate.phasesCsv({ t2: 98, tPNf: 89, t4: 172 }, 285), "tPNf,89,97\nt2,98,171\nt4,172,285\n");
  assert.equal(annotate.phasesCsv({}, 285), "");
  assert.deepEqual(annotate.outOfOrder({ t2: 98, t4: 150, t3: 172 }), ["t3 begins at RUN 172, after t4 (RUN 150)"]);
});

test("undo and redo go to the beginning and to the end", () => {
  const steps = play({ actions: [["set", "t2", 5], ["set", "t3", 9], ["undo"], ["undo"], ["undo"], ["redo"], ["redo"], ["redo"]], last: 20, published: {}, base: null });
  assert.deepEqual(steps.map(([csv]) => csv.split("\n").length - 1), [1, 2, 1, 0, 0, 1, 2, 2]);
  assert.equal(JSON.parse(steps.at(-1)[1]).changes.length, 6);
});

test("a phase that begins where another one did replaces it, and undo brings it back", () => {
  const steps = play({ actions: [["set", "t3", 9], ["set", "t4", 9], ["undo"]], last: 20, published: null, base: null });
  assert.deepEqual(steps.map(([csv]) => csv), ["t3,9,20\n", "t4,9,20\n", "t3,9,20\n"]);
});

test("differences are in recorded hours, or in runs if a time is missing", () => {
  const hours = new Map([[5, 10], [6, 10.25], [7, 10.5]]);
  assert.equal(annotate.differenceText(7, 5, hours), "+0.5 h");
  assert.equal(annotate.differenceText(5, 7, hours), "\u22120.5 h");
  assert.equal(annotate.differenceText(5, 5, hours), "\u00b10.0 h");
  assert.equal(annotate.differenceText(9, 8, hours), "+1 run");
  assert.equal(annotate.differenceText(undefined, 8, hours), "");
  assert.equal(annotate.nextPhase("t9+"), "tM");
  assert.equal(annotate.nextPhase("tHB"), "tHB");
});
