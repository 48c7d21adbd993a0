// The pure helpers of the player, in Node: `node --test tests/player.test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import * as player from "../nsw_da_medical_image/viewer/static/player.js";

test("ranges become runs, and gaps are found again", () => {
  assert.deepEqual(player.expand([[1, 3], [5, 5]]), [1, 2, 3, 5]);
  assert.deepEqual(player.gaps([1, 2, 3, 5, 9]), [[4, 4], [6, 8]]);
  assert.deepEqual(player.gaps([]), []);
});

test("the nearest run is found at both ends, in a gap, and in nothing", () => {
  const runs = [2, 3, 7];
  for (const [x, at] of [[-5, 0], [2, 0], [4, 1], [5, 1], [6, 2], [99, 2]]) assert.equal(player.nearest(runs, x), at, `${x}`);
  assert.equal(player.nearest([], 3), -1);
});

test("coarse to fine takes every place once, the first ones far apart", () => {
  for (const n of [0, 1, 5, 32, 33, 500]) {
    assert.deepEqual(player.coarseToFine(n).sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
  }
  assert.deepEqual(player.coarseToFine(100).slice(0, 6), [0, 32, 64, 96, 16, 48]);
});

test("hours come back as they were packed, where they were recorded", () => {
  const hours = player.readHours({ runs: [[2, 4], [7, 7]], unit: 10, steps: "(102)3(-2)z" });
  assert.deepEqual([...hours], [[2, 10.2], [3, 10.5], [4, 10.3], [7, 13.8]]);
});

test("a series knows which plane has which run", () => {
  const hours = { runs: [], unit: 10, steps: "" };
  const series = player.readSeries({
    videos: [{ name: "A", phases: [], hours, grade: null, faults: [], planes: { F0: 0, F15: 1 } }],
    planes: ["F0", "F15"],
    runs: [[[1, 4]], [[1, 2], [4, 5]]],
  });
  const [video] = series.videos;
  assert.deepEqual(series.runs, [1, 2, 3, 4, 5]);
  assert.deepEqual([video.has("F0", 3), video.has("F15", 3), video.has("F15", 5), video.has("F45", 1)], [true, false, true, false]);
});

const PHASES = [["tPB2", "", 3, 9], ["t2", "", 10, 10], ["t4", "", 12, 40]];

test("a phase holds its first and its last run, and nothing lies between phases", () => {
  const names = [2, 3, 9, 10, 11, 12, 40, 41].map((run) => player.phaseAt(PHASES, run)?.[0] ?? "");
  assert.deepEqual(names, ["", "tPB2", "tPB2", "t2", "", "t4", "t4", ""]);
});

test("the band covers all runs once, unlabelled stretches included, and ends with the images", () => {
  const band = player.segments(PHASES, 1, 30);
  assert.deepEqual(band.map(({ name, first, last }) => [name, first, last]), [["", 1, 2], ["tPB2", 3, 9], ["t2", 10, 10], ["", 11, 11], ["t4", 12, 30]]);
  band.slice(1).forEach(({ left }, i) => assert.ok(Math.abs(left - band[i].left - band[i].width) < 1e-9));
  assert.ok(Math.abs(band.reduce((sum, { width }) => sum + width, 0) - 100) < 1e-9);
  assert.deepEqual(player.segments([], 5, 5).map(({ width }) => width), [100]);
  const overlap = player.segments([["t2", "", 1, 6], ["t3", "", 5, 9]], 1, 9);
  assert.deepEqual(overlap.map(({ first, last }) => [first, last]), [[1, 6], [7, 9]]);
});

test("days stand at recorded runs only", () => {
  assert.deepEqual(player.days(new Map([[1, 20], [2, 23.9], [3, 24.2], [4, 50], [5, 73]])), [[24, 3], [48, 4], [72, 5]]);
  assert.deepEqual(player.days(new Map()), []);
  assert.deepEqual(player.days(new Map([[1, 24]])), [[24, 1]]);
});

test("a place is told in words", () => {
  assert.equal(player.describe({ run: 231, last: 480, hour: 62.4, phase: "t8", plane: "F15" }), "run 231 of 480, 62.4 h, t8, plane F15");
  assert.equal(player.describe({ run: 1, last: 9, plane: "F0" }), "run 1 of 9, no time recorded, unlabelled, plane F0");
});

test("a run or an hour can be typed", () => {
  assert.deepEqual(player.parseGoto(" 231 "), { run: 231 });
  assert.deepEqual(player.parseGoto("RUN 12"), { run: 12 });
  assert.deepEqual(player.parseGoto("62,4 h"), { hour: 62.4 });
  assert.deepEqual(player.parseGoto("20hpi"), { hour: 20 });
  for (const wrong of ["", "x", "12.5", "-3", "1 2"]) assert.equal(player.parseGoto(wrong), null, wrong);
  assert.equal(player.runAtHour(new Map([[3, 10], [4, 12]]), 11.5), 4);
  assert.equal(player.runAtHour(new Map(), 3), null);
});

test("text reads on every phase's colour", () => {
  const light = (hex) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  assert.equal(Object.keys(player.PHASES).length, 16);
  for (const hex of Object.values(player.PHASES)) {
    const [a, b] = [light(hex), player.ink(hex) === "#fff" ? 1 : 0].sort();
    assert.ok((b + 0.05) / (a + 0.05) >= 4.5, hex);
  }
});

test("the clock neither drifts nor stutters at the display's own rate", () => {
  for (const [rate, hertz] of [[60, 60], [25, 60], [30, 60], [60, 144], [400, 60]]) {
    let carry = 0.5;
    let total = 0;
    const seen = new Set();
    for (let i = 0; i < hertz * 10; i++) {
      const jitter = i % 2 ? 0.4 : -0.4; // milliseconds
      const next = player.advance(carry, 1000 / hertz + jitter, rate);
      carry = next.carry;
      total += next.steps;
      seen.add(next.steps);
    }
    assert.ok(Math.abs(total - rate * 10) <= 1, `${rate} at ${hertz}: ${total}`);
    if (rate === hertz) assert.deepEqual([...seen], [1]);
  }
});

test("the playhead stays inside, or goes around", () => {
  assert.deepEqual(player.move(5, 3, 0, 9, false), { index: 8, ended: false });
  assert.deepEqual(player.move(8, 3, 0, 9, false), { index: 9, ended: true });
  assert.deepEqual(player.move(1, -3, 0, 9, false), { index: 0, ended: true });
  assert.deepEqual(player.move(8, 3, 0, 9, true), { index: 1, ended: false });
  assert.deepEqual(player.move(1, -3, 0, 9, true), { index: 8, ended: false });
  assert.deepEqual(player.move(4, 25, 3, 5, true), { index: 5, ended: false });
});

test("J and L: direction first, then faster, 16 times at most", () => {
  const speeds = (speed, signs) => signs.map((sign) => (speed = player.shuttle(speed, sign)));
  assert.deepEqual(speeds(1, [1, 1, 1, 1, 1, -1, -1, 1]), [2, 4, 8, 16, 16, -1, -2, 1]);
  assert.deepEqual([player.nextSpeed(1, 1), player.nextSpeed(-0.25, -1), player.nextSpeed(16, 1), player.nextSpeed(-2, 1)], [2, -0.25, 16, -4]);
});

test("keys mean what the help says, and chords mean nothing", () => {
  const key = (name, more) => player.keyAction({ key: name, ...more });
  assert.deepEqual(key("ArrowRight", { shiftKey: true }), ["step", 10]);
  assert.deepEqual([key(" "), key("k"), key("K")], [["toggle"], ["toggle"], ["toggle"]]);
  assert.deepEqual([key("<", { shiftKey: true }), key("Escape")], [["speed", -1], ["leave"]]);
  for (const name of ["a", "b", "x", "Tab", "Enter", "m"]) assert.equal(key(name), null, name);
  for (const chord of ["ctrlKey", "altKey", "metaKey"]) assert.equal(key("k", { [chord]: true }), null, chord);
});

test("buffers are read with their offset", () => {
  const whole = Uint8Array.from({ length: 20 }, (_, i) => i);
  const view = new DataView(whole.buffer, 7, 6);
  assert.deepEqual(player.slices(view, [2, 0, 4]).map((part) => [...part]), [[7, 8], [], [9, 10, 11, 12]]);
  assert.deepEqual(player.slices(whole.buffer, [3]).map((part) => [...part]), [[0, 1, 2]]);
  assert.deepEqual([...player.fromBase64("AP+A")], [0, 255, 128]);
});

test("a cache forgets what was used longest ago, and says what it forgets", () => {
  const gone = [];
  const cache = new player.Cache(3, (value) => value.length, (value, key) => gone.push(key));
  for (const key of ["a", "b", "c"]) cache.put(key, "x");
  cache.get("a");
  cache.put("d", "x");
  assert.deepEqual([gone, cache.has("a"), cache.weight, cache.size], [["b"], true, 3, 3]);
  cache.put("big", "xxxxx"); // more than its limit: alone
  assert.deepEqual([cache.size, cache.weight], [1, 5]);
  cache.put("big", "xx"); // the one in place of the other
  cache.clear();
  assert.deepEqual([cache.size, cache.weight, gone.filter((key) => key === "big").length], [0, 0, 2]);
});

test("a throttle lets ten a second through, and always the last", () => {
  let clock = 0;
  const sent = [];
  let due = null;
  const throttle = new player.Throttle(100, (value) => sent.push([clock, value]), () => clock, (run, ms) => ((due = { run, at: clock + ms }), 0));
  for (; clock <= 1000; clock += 5) {
    if (due && clock >= due.at) {
      const { run } = due;
      due = null;
      run();
    }
    throttle.offer(clock);
  }
  assert.ok(sent.length <= 11 && sent.length >= 10, `${sent.length}`);
  throttle.flush();
  assert.equal(sent.at(-1)[1], 1000);
});

test("a model without a kernel speaks of changes only", () => {
  const model = new player.LocalModel({ value: 1, bounds: [] });
  const heard = [];
  const handler = () => heard.push(model.get("value"));
  model.on("change:value", handler);
  model.set("value", 1);
  model.set("value", 2);
  model.off("change:value", handler);
  model.set("value", 3);
  assert.deepEqual(heard, [2]);
});
