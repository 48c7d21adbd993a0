// The pure helpers of the explorer, in Node: `node --test tests/explorer.test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import * as explorer from "../nsw_da_medical_image/viewer/static/explorer.js";
import * as player from "../nsw_da_medical_image/viewer/static/player.js";

const phases = (...names) => names.map((name, i) => [name, 10 * i + 1, 10 * i + 10, 5 * i, 5 * i + 5]);
const item = (at, name, row) => ({ at, name, code: name.split("-")[0], codeAt: at, words: name.toLowerCase(), marked: at === 1, row });
const items = [
  item(0, "AA83-7", { phases: phases("t2", "t4", "tB"), grade: ["A", "B"], findings: [["gap", "warning"]], count: 1, times: { t2: 27 } }),
  item(1, "AA83-9", { phases: phases("t2"), grade: ["NA", "NA"], findings: [], count: 0, times: { t2: 25 } }),
  item(2, "TB12-1", { phases: [], grade: null, findings: [["gap", "info"], ["clock", "error"]], count: 2, times: {} }),
  item(3, "ZZ1-1", null),
];
const names = (filters) => explorer.select(items, { ...explorer.NO_FILTERS, ...filters }).map(({ name }) => name);

test("words filter by a phase that was reached, and by a part of the name", () => {
  assert.deepEqual(names({}), ["AA83-7", "AA83-9", "TB12-1", "ZZ1-1"]);
  assert.deepEqual(names({ text: "tB" }), ["AA83-7"]);
  assert.deepEqual(names({ text: "TB" }), ["TB12-1"]);
  assert.deepEqual(names({ text: "  aa83  t2 " }), ["AA83-7", "AA83-9"]);
  assert.deepEqual(names({ text: "nothing" }), []);
});

test("each filter selects, and they combine", () => {
  assert.deepEqual(names({ code: "AA83" }), ["AA83-7", "AA83-9"]);
  assert.deepEqual(names({ reached: "t4" }), ["AA83-7"]);
  assert.deepEqual(names({ te: "A" }), ["AA83-7"]);
  assert.deepEqual(names({ icm: "-" }), ["TB12-1"]);
  assert.deepEqual(names({ finding: "any" }), ["AA83-7", "TB12-1"]);
  assert.deepEqual(names({ finding: "none" }), ["AA83-9"]);
  assert.deepEqual(names({ finding: "clock" }), ["TB12-1"]);
  assert.deepEqual(names({ marked: true }), ["AA83-9"]);
  assert.deepEqual(names({ finding: "gap", code: "AA83" }), ["AA83-7"]);
});

test("missing values are last in both directions", () => {
  assert.deepEqual(names({ sort: "t2" }), ["AA83-9", "AA83-7", "TB12-1", "ZZ1-1"]);
  assert.deepEqual(names({ sort: "t2", down: true }), ["AA83-7", "AA83-9", "TB12-1", "ZZ1-1"]);
  assert.deepEqual(names({ sort: "last", down: true }), ["AA83-7", "AA83-9", "TB12-1", "ZZ1-1"]);
  assert.deepEqual(names({ sort: "findings", down: true }), ["TB12-1", "AA83-7", "AA83-9", "ZZ1-1"]);
  assert.deepEqual(names({ down: true }), ["ZZ1-1", "TB12-1", "AA83-9", "AA83-7"]);
});

test("counts ignore their own filter and follow the others", () => {
  const counts = explorer.countsOf(items, { ...explorer.NO_FILTERS, reached: "tB", code: "AA83" }, "reached");
  assert.deepEqual(counts, { "": 2, t2: 2, t4: 1, tB: 1 });
  assert.equal(explorer.countsOf(items, explorer.NO_FILTERS, "finding").none, 1);
});

test("the band is in hours, or in runs without times", () => {
  const [first, second] = explorer.bandParts({ phases: [["t2", 1, 10, 24, 36], ["t4", 11, 20, 36, 48]], runs: [1, 20, 20] }, 96);
  assert.deepEqual([first.left, first.width, second.left], [25, 12.5, 37.5]);
  assert.equal(first.title, "t2, runs 1 to 10, 24.0 h");
  const [bare] = explorer.bandParts({ phases: [["t2", 11, 20, null, null]], runs: [1, 20, 20] }, 96);
  assert.deepEqual([bare.left, bare.width], [50, 50]);
  const [, none] = explorer.bandParts({ phases: [["t2", 1, 10, 24, 36], ["t4", 11, 20, null, null]], runs: [1, 20, 20] }, 96);
  assert.equal(none, undefined);
});

test("few rows are drawn, whatever the number of videos", () => {
  assert.deepEqual(explorer.shownRows(0, 400, 50, 704), { from: 0, to: 12 });
  assert.deepEqual(explorer.shownRows(35_000, 400, 50, 704), { from: 696, to: 704 });
  assert.deepEqual(explorer.shownRows(0, 400, 50, 0), { from: 0, to: 0 });
});

test("tables are quoted, and cells are not formulas", () => {
  assert.equal(explorer.toCsv([["video", "run"], ["AA83-7", 12, null, 'a "b", c'], ["=1"], [-3]]), `video,run\nAA83-7,12,,"a ""b"", c"\n'=1\n-3\n`);
});

test("thumbnails are requested from coarse to fine, each once", () => {
  for (const n of [0, 1, 4, 13]) assert.deepEqual(explorer.coarseToFine(n).sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
});

test("keys with a modifier are left to others", () => {
  assert.deepEqual(explorer.keyAction({ key: "N" }), ["open", 1]);
  assert.deepEqual(explorer.keyAction({ key: "PageUp" }), ["open", -1]);
  assert.equal(explorer.keyAction({ key: "n", ctrlKey: true }), null);
  assert.equal(explorer.listAction({ key: "Enter", metaKey: true }), null);
});

test("phases have the colours of the player", () => assert.deepEqual(explorer.PHASES, player.PHASES));

test("one run is not several", () => {
  assert.deepEqual(["5", "3-5", "3, 5", ""].map(explorer.runsText), ["run 5", "runs 3-5", "runs 3, 5", ""]);
});

test("any onset sorts, and intervals are computed from the onsets", () => {
  assert.deepEqual(Object.keys(explorer.SORTS).slice(-2), ["tEB", "tHB"]);
  const spans = explorer.intervalsOf({ t2: 25, t3: 36.5, t4: 37 });
  assert.deepEqual(spans, { cc2: 11.5, s2: 0.5, cc3: undefined, s3: undefined });
});

test("the rows of the raster fit, unless they would be too low to be seen", () => {
  assert.deepEqual([[400, 10], [400, 100], [400, 704], [400, 0]].map(([height, count]) => explorer.rasterRow(height, count)), [18, 4, 2, 18]);
});

test("siblings are aligned by what they have", () => {
  const values = explorer.alignments([{ times: { t2: 25 } }, null, { times: { t4: 40, t2: 26 } }]).map(([value]) => value);
  assert.deepEqual(values, ["t2", "t4", "hours", "run"]);
});

test("a comment is kept at once, and null removes its bookmark", () => {
  const notes = [[3, 8.5, "a"], [9, 20, ""]];
  assert.deepEqual(explorer.withNote(notes, 9, "b"), [[3, 8.5, "a"], [9, 20, "b"]]);
  assert.deepEqual(explorer.withNote(notes, 5, ""), [[3, 8.5, "a"], [5, null, ""], [9, 20, ""]]);
  assert.deepEqual(explorer.withNote(notes, 3, null), [[9, 20, ""]]);
});
