// The pure helpers of the player, in Node: `node --test tests/player.test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import { LocalModel } from "../nsw_da_medical_image/viewer/static/page.js";
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
  assert.deepEqual([player.parseGoto("12.5"), player.parseGoto("T9+ "), player.parseGoto("tb")], [{ hour: 12.5 }, { phase: "t9+" }, { phase: "tB" }]);
  for (const wrong of ["", "x", "-3", "1 2", "t10"]) assert.match(player.parseGoto(wrong).problem, /is not a run \(231\), an hour \(62.4\) or a phase/, wrong);
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
  for (const name of ["a", "b", "x", "Tab", "Enter", "y"]) assert.equal(key(name), null, name);
  assert.deepEqual([key("I", { shiftKey: true }), key("o"), key("0"), key("ArrowUp", { ctrlKey: true })], [["unmark"], ["mark", 1], ["reset"], ["pan", [0, -1]]]);
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
  const model = new LocalModel({ value: 1, bounds: [] });
  const heard = [];
  const handler = () => heard.push(model.get("value"));
  model.on("change:value", handler);
  model.set("value", 1);
  model.set("value", 2);
  model.off("change:value", handler);
  model.set("value", 3);
  assert.deepEqual(heard, [2]);
});

const hoursOf = (first, step, n) => new Map(Array.from({ length: n }, (_, i) => [i + 1, first + i * step]));
const video = (name, n, t2, hours = hoursOf(10, 0.5, n)) => {
  const all = Array.from({ length: n }, (_, i) => i + 1);
  return { name, all, runs: { F0: all }, phases: [["tPB2", "", 1, t2 - 1], ["t2", "", t2, n]], hours };
};

test("by run, a video that has ended holds its last run; a missing run remains", () => {
  const a = video("A", 10, 3);
  a.all = [2, 3, 5];
  const axis = player.makeAxis({ videos: [a, video("B", 6, 3)], runs: [1, 2, 3, 4, 5, 6] }, "run");
  assert.deepEqual(axis.rows[0].map(({ run, where }) => [run, where]), [[2, -1], [2, 0], [3, 0], [4, 0], [5, 0], [5, 1]]);
});

test("aligned by an onset, every video shows exactly its onset at 0", () => {
  const videos = [video("A", 50, 11), video("B", 80, 30, hoursOf(3, 0.37, 80)), video("C", 20, 7, hoursOf(30, 0.1, 20))];
  const axis = player.makeAxis({ videos, runs: [] }, "t2");
  const zero = axis.places.indexOf(0);
  assert.deepEqual([axis.unit, ...axis.rows.map((row) => row[zero].run)], ["h", 11, 30, 7]);
  const doubled = video("D", 20, 7, new Map([[5, 1], [6, 2], [7, 2], [8, 2], [9, 3]])); // three runs at one time
  assert.equal(player.makeAxis({ videos: [doubled], runs: [] }, "t2").rows[0][1].run, 7);
  videos[1].hours = new Map(); // then runs are counted
  const counted = player.makeAxis({ videos, runs: [] }, "t2");
  assert.deepEqual([counted.unit, ...counted.rows.map((row) => row[counted.places.indexOf(0)].run)], ["run", 11, 30, 7]);
  videos[2].phases = [];
  assert.equal(player.makeAxis({ videos, runs: [] }, "t2").rows[2], null);
});

test("aligned by hours, every video is within one frame of the hour", () => {
  const videos = [video("A", 50, 11), video("B", 80, 30, hoursOf(3, 0.37, 80))];
  const axis = player.makeAxis({ videos, runs: [] }, "hours");
  axis.places.forEach((place, i) => videos.forEach(({ hours }, v) => {
    const { run, where } = axis.rows[v][i];
    const off = Math.min(...[...hours.values()].map((hour) => Math.abs(hour - place)));
    if (!where) assert.ok(Math.abs(hours.get(run) - place) <= off + 1e-9);
    else assert.equal(run, where > 0 ? videos[v].all.at(-1) : 1);
  }));
  assert.deepEqual([player.placeText(axis, 12.3), player.placeText({ unit: "h", align: "t2" }, -3.4), player.placeText({ unit: "run", align: "t2" }, 1), player.placeText({ unit: "h", align: "t2" }, 0)], ["12.3 h", "t2 \u2212 3.4 h", "t2 + 1 run", "t2"]);
});

test("zooming keeps the point under the pointer, and the view inside the picture", () => {
  const view = player.zoomAt({ scale: 1, x: 0.5, y: 0.5 }, 2, 0.7, 0.4);
  assert.ok(Math.abs(view.x + 0.2 / 2 - 0.7) < 1e-9 && Math.abs(view.y - 0.1 / 2 - 0.4) < 1e-9);
  assert.deepEqual(player.zoomAt(view, 0.1), { scale: 1, x: 0.5, y: 0.5 });
  assert.deepEqual(player.clampView({ scale: 4, x: 2, y: -1 }), { scale: 4, x: 0.875, y: 0.125 });
});

test("panes fill the space, one row per embryo if the columns are given", () => {
  assert.deepEqual(player.fitGrid(1, 1000, 400, {}), { columns: 1, size: 400 });
  assert.equal(player.fitGrid(7, 1000, 400, { gap: 0 }).columns, 4);
  assert.deepEqual(player.fitGrid(6, 308, 900, { fixed: 3 }), { columns: 3, size: (308 - 16) / 3 });
});

test("an Exif segment is renamed in a copy, and other files remain as they are", () => {
  const file = Uint8Array.from([0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xe1, 0, 8, 0x45, 0x78, 0x69, 0x66, 0, 0, 0xff, 0xda, 0, 2]);
  const copy = player.withoutOrientation(file);
  assert.deepEqual([file[12], copy[12], copy.length], [0x45, 0x58, file.length]);
  for (const same of [file.subarray(0, 8), new Uint8Array(), Uint8Array.from([0x89, 0x50, 0x4e, 0x47])]) assert.equal(player.withoutOrientation(same), same);
});

test("an urgent picture is decoded before any other task, if the browser can; otherwise it takes the usual way", async () => {
  const file = Uint8Array.from([0xff, 0xd8, 0xff, 0xda, 0, 2]);
  const loaded = [];
  let complete = true;
  class FakeImage {
    set src(url) {
      loaded.push(url);
      queueMicrotask(() => Object.assign(this, { complete, naturalWidth: complete && !url.endsWith("AA==") ? 5 : 0 }));
    }
  }
  class Unreadable extends FakeImage {}
  globalThis.createImageBitmap = async (from) => {
    if (from instanceof Unreadable) throw new Error("not decoded");
    return from instanceof Blob ? "later" : "at once";
  };
  globalThis.Image = FakeImage;
  try {
    let other = false;
    setImmediate(() => (other = true));
    assert.equal(await player.decode(file, true), "at once");
    assert.equal(other, false);
    assert.deepEqual(loaded, ["data:image/jpeg;base64,/9j/2gAC"]);
    assert.equal(await player.decode(file), "later"); // not urgent
    assert.equal(await player.decode(new Uint8Array(60_001), true), "later"); // it would block the page
    const { allowance } = globalThis.embryoPage;
    globalThis.embryoPage.allowance = 5;
    assert.equal(await player.decode(file, true), "later"); // the page may keep no more text of pictures
    globalThis.embryoPage.allowance = allowance;
    assert.equal(loaded.length, 1);
    assert.equal(await player.decode(Uint8Array.from([0]), true), "later"); // nothing that the browser could show
    globalThis.Image = Unreadable;
    assert.equal(await player.decode(file, true), "later"); // such as a truncated file
    [globalThis.Image, complete] = [FakeImage, false];
    assert.equal(await player.decode(file, true), "later");
    complete = true;
    assert.equal(loaded.length, 4);
    assert.equal(await player.decode(file, true), "later"); // a browser that loads it in another task is not asked again
    assert.equal(loaded.length, 4);
  } finally {
    delete globalThis.Image;
    delete globalThis.createImageBitmap;
  }
});
