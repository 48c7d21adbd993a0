// EmbryoPlayer in the browser: one module, no build step, no dependency, no request.
//
// The kernel (or the page of `to_html`) sends the JPEG bytes of the files; they are decoded here, shortly before they are
// shown. Each player has one Engine, with the clock and the caches, and one View for each place where it is displayed.

// --- pure helpers: no DOM, no state; tested by `node --test` ----------------------------------------------------------

// Crameri's batlow with a lightness zigzag, so that neighbours on the bar differ for every kind of colour vision.
export const PHASES = {
  tPB2: "#1a366c", tPNa: "#00284e", tPNf: "#285a72", t2: "#004852", t3: "#3c766f", t4: "#2f5d44", t5: "#698856", t6: "#626d29",
  t7: "#a4983d", t8: "#9e7c1e", "t9+": "#e4a651", tM: "#d3864c", tSB: "#ffb793", tB: "#e79b92", tEB: "#ffd0dc", tHB: "#e5b2d4",
};
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

/** Return every number in a list of inclusive ranges [[first, last], ...]. */
export function expand(ranges) {
  return ranges.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
}

/** Return the index of the value nearest to `x` in the ascending list `sorted`: the lower one of two, -1 if the list is empty. */
export function nearest(sorted, x) {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - sorted[low - 1] <= sorted[low] - x ? low - 1 : high;
}

/** Return the ranges of whole numbers that are missing between the ascending `runs`. */
export function gaps(runs) {
  const found = [];
  for (let i = 1; i < runs.length; i++) {
    if (runs[i] > runs[i - 1] + 1) found.push([runs[i - 1] + 1, runs[i] - 1]);
  }
  return found;
}

/** Return 0 ... n-1 from coarse to fine: every 32nd number, then every 16th, ... then the others; each once. */
export function coarseToFine(n, stride = 32) {
  const order = [];
  for (let s = stride; s >= 1; s /= 2) {
    for (let i = 0; i < n; i += s) if (s === stride || i % (2 * s)) order.push(i);
  }
  return order;
}

/** Return hours by run from {runs: ranges, unit: units per hour, steps: differences as base-36 digits, or numbers in brackets}. */
export function readHours({ runs, unit, steps }) {
  const numbers = [...steps.matchAll(/\((-?[0-9]+)\)|(.)/g)].map(([, number, digit]) => (digit ? parseInt(digit, 36) : Number(number)));
  let sum = 0;
  return new Map(expand(runs).map((run, i) => [run, (sum += numbers[i]) / unit]));
}

/** Return the kernel's description of the videos, with lists and sets instead of ranges. */
export function readSeries(raw) {
  const lists = raw.runs.map(expand);
  const sets = lists.map((list) => new Set(list));
  const videos = raw.videos.map((video) => ({
    ...video,
    runs: Object.fromEntries(Object.entries(video.planes).map(([plane, at]) => [plane, lists[at]])),
    has: (plane, run) => plane in video.planes && sets[video.planes[plane]].has(run),
    hours: readHours(video.hours),
  }));
  for (const video of videos) video.all = [...new Set(Object.values(video.runs).flat())].sort((a, b) => a - b);
  return { videos, planes: raw.planes, runs: [...new Set(lists.flat())].sort((a, b) => a - b) };
}

/** Return the first run of a phase that exists in `plane`, otherwise in any plane; undefined if the phase has no frame. */
export function startOf(video, [, , first, last], plane) {
  const within = (run) => first <= run && run <= last;
  return video.runs[plane]?.find(within) ?? video.all.find(within);
}

/**
 * Return the axis of the playhead, {unit, places, rows}: the ascending places of the playhead, and per video the run that
 * it shows at each place, with where: 0 within the video, -1 before it, 1 after it. `rows[v]` is null if video `v` cannot be
 * aligned. The unit is "run" or "h"; the places are runs, hours, or runs or hours since the onset of the phase `align`.
 */
export function makeAxis({ videos, runs }, align) {
  if (align === "run") return { unit: "run", align, places: runs, rows: videos.map(({ all }) => runs.map((run) => clampRun(run, all[0], all.at(-1)))) };
  const inHours = videos.every((video) => video.hours.size > 0);
  const unit = inHours ? "h" : "run";
  const at = (video, run) => (inHours ? video.hours.get(run) : run);
  const points = videos.map((video) => {
    const phase = video.phases.find(([name]) => name === align);
    const onset = align === "hours" ? null : phase && startOf(video, phase);
    const zero = align === "hours" ? 0 : at(video, onset);
    if (zero === undefined) return [];
    const found = video.all.filter((run) => at(video, run) !== undefined).map((run) => [at(video, run) - zero, run]);
    return found.sort(([a, r], [b, t]) => a - b || (r === onset ? -1 : t === onset ? 1 : r - t)); // of equal times, the onset
  });
  if (!points.some((some) => some.length)) return makeAxis({ videos, runs }, "run");
  const places = evenPlaces(points.filter((some) => some.length), inHours);
  const step = places.length > 1 ? places[1] - places[0] : 1;
  return { unit, align, places, rows: points.map((some) => (some.length ? rowOf(some, places, step) : null)) };
}

/** Return {run, where}: a video that has ended shows its last run. A run that is missing in between remains a place. */
function clampRun(run, first, last) {
  if (run < first) return { run: first, where: -1 };
  return run > last ? { run: last, where: 1 } : { run, where: 0 };
}

/** Return evenly spaced places, 0 among them, as close as the frames of the first video usually are. */
function evenPlaces(points, inHours) {
  const steps = (points[0] ?? []).slice(1).map(([at], i) => at - points[0][i][0]).filter((step) => step > 0).sort((a, b) => a - b);
  const [low, high] = [Math.min(...points.map((some) => some[0][0])), Math.max(...points.map((some) => some.at(-1)[0]))];
  const step = inHours ? Math.max(0.01, Number((steps[steps.length >> 1] ?? 1).toFixed(2)), (high - low) / 20000) : 1;
  const from = Math.floor(low / step + 1e-6);
  return Array.from({ length: Math.ceil(high / step - 1e-6) - from + 1 }, (_, i) => Number(((from + i) * step).toFixed(4)));
}

/** Return [{run, where}, ...] for each of `places`: the run of the nearest of the ascending `points` [[place, run], ...]. */
function rowOf(points, places, tolerance) {
  const ats = points.map(([at]) => at);
  const [first, last] = [ats[0] - tolerance, ats.at(-1) + tolerance];
  return places.map((place) => {
    const i = nearest(ats, place);
    const begin = ats.indexOf(ats[i]); // of several at the same time, the first
    return { run: points[begin][1], where: place < first ? -1 : place > last ? 1 : 0 };
  });
}

/** Return a place of the playhead as text: "run 12", "62.4 h", "t2 + 3.4 h", "t2 \u2212 12 runs". */
export function placeText({ unit, align }, place) {
  if (align === "run") return `run ${place}`;
  if (place === 0 && align !== "hours") return align;
  const size = unit === "h" ? `${Math.abs(place).toFixed(1)} h` : `${Math.abs(place)} run${Math.abs(place) === 1 ? "" : "s"}`;
  return align === "hours" && unit === "h" ? size : `${align === "hours" ? "run" : align} ${place < 0 ? "\u2212" : "+"} ${size}`;
}

/** Return the row [name, meaning, first, last] of `phases` that contains `run`, or null if the run is unlabelled. */
export function phaseAt(phases, run) {
  return phases.findLast(([, , first, last]) => first <= run && run <= last) ?? null;
}

/** Return the position of `run` between `first` and `last`, from 0 to 1. */
export function along(run, first, last) {
  return last > first ? (run - first) / (last - first) : 0.5;
}

/** Return the parts of the band, [{name, first, last, left, width}], positions in percent; unlabelled stretches have the name "". */
export function segments(phases, first, last) {
  const found = [];
  const add = (name, a, b) => {
    const left = Math.max(0, along(a - 0.5, first, last));
    const right = Math.min(1, along(b + 0.5, first, last));
    found.push({ name, first: a, last: b, left: 100 * left, width: 100 * (last > first ? right - left : 1) });
  };
  let next = first;
  for (const [name, , begin, end] of [...phases].sort((a, b) => a[2] - b[2])) {
    if (end < next || begin > last) continue;
    if (begin > next) add("", next, begin - 1);
    add(name, Math.max(begin, next), Math.min(end, last));
    next = Math.min(end, last) + 1;
  }
  if (next <= last) add("", next, last);
  return found;
}

/** Return the first run at or after every 24 hours, [[hours, run], ...]. Only recorded times count; nothing is interpolated. */
export function days(hours, every = 24) {
  const found = [];
  let due = null;
  for (const [run, hour] of [...hours].sort((a, b) => a[0] - b[0])) {
    if (due === null) due = Math.ceil(hour / every) * every;
    if (hour < due) continue;
    if (hour < due + every) found.push([due, run]);
    due = (Math.floor(hour / every) + 1) * every;
  }
  return found;
}

/** Return "62.4 h", or `otherwise`. */
export function hourText(hour, otherwise = "no time recorded") {
  return hour === undefined ? otherwise : `${hour.toFixed(1)} h`;
}

/** Describe a frame for a screen reader: "run 231 of 480, 62.4 h, t8, plane F15". */
export function describe({ run, last, hour, phase, plane }) {
  return `run ${run} of ${last}, ${hourText(hour)}, ${phase || "unlabelled"}, plane ${plane}`;
}

/** Parse the text typed into "Go to": {run} for "231", {hour} for "62.4" or "62,4 h", {phase} for "t8", otherwise {problem}. */
export function parseGoto(text) {
  const hour = /^\s*([0-9]+(?:[.,][0-9]+)?)\s*(h|hpi|hours?)\s*$/i.exec(text) ?? /^\s*([0-9]+[.,][0-9]+)\s*$/.exec(text);
  if (hour) return { hour: Number(hour[1].replace(",", ".")) };
  const run = /^\s*(?:run\s*)?([0-9]+)\s*$/i.exec(text);
  if (run) return { run: Number(run[1]) };
  const phase = Object.keys(PHASES).find((name) => name.toLowerCase() === text.trim().toLowerCase());
  return phase ? { phase } : { problem: `\u201c${text.trim()}\u201d is not a run (231), an hour (62.4) or a phase (t8)` };
}

/** Return the run whose recorded time is nearest to `hour`, or null if no times were recorded. */
export function runAtHour(hours, hour) {
  let best = null;
  for (const [run, at] of hours) if (best === null || Math.abs(at - hour) < Math.abs(hours.get(best) - hour)) best = run;
  return best;
}

/** Return black or white, whichever is easier to read on `hex` (the contrast is at least 4.5 on any colour). */
export function ink(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Return how many frames to advance after `elapsed` milliseconds at `rate` frames per second, and the fraction to carry over. */
export function advance(carry, elapsed, rate) {
  const due = carry + (elapsed * rate) / 1000;
  const steps = Math.floor(due + 1e-9);
  return { steps, carry: Math.max(0, due - steps) };
}

/** Return `index + steps` within low...high. At the end, start again if `loop`; otherwise stay there, with `ended` true. */
export function move(index, steps, low, high, loop) {
  const to = index + steps;
  if (to >= low && to <= high) return { index: to, ended: false };
  if (!loop) return { index: to > high ? high : low, ended: true };
  const span = high - low + 1;
  return { index: low + ((((to - low) % span) + span) % span), ended: false };
}

/** Return the next faster speed in the direction `sign`: first 1x in that direction, then 2x, 4x, ... 16x. */
export function shuttle(speed, sign) {
  if (Math.sign(speed) !== sign) return sign;
  return sign * Math.min(16, Math.max(1, Math.abs(speed) * 2));
}

/** Return the next higher or lower speed of the list, in the same direction. */
export function nextSpeed(speed, step) {
  const at = nearest(SPEEDS, Math.abs(speed)) + step;
  return Math.sign(speed) * SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at))];
}

// What each key does: the keys as the browser names them in lower case, the action, the action together with Shift, and the help.
const KEY_TABLE = [
  [[" ", "k"], ["toggle"], null, "Space K", "play, pause"],
  [["j"], ["shuttle", -1], null, "J L", "play backwards, forwards; press again: faster"],
  [["l"], ["shuttle", 1], null],
  [["arrowleft"], ["step", -1], ["step", -10], "\u2190 \u2192 , .", "one frame; with Shift: ten"],
  [["arrowright"], ["step", 1], ["step", 10]],
  [[","], ["step", -1], null],
  [["."], ["step", 1], null],
  [["arrowup"], ["plane", 1], null, "\u2191 \u2193 wheel", "focal plane"],
  [["arrowdown"], ["plane", -1], null],
  [["home"], ["edge", -1], null, "Home End", "first, last frame"],
  [["end"], ["edge", 1], null],
  [["["], ["phase", -1], null, "[ ]", "previous, next phase"],
  [["]"], ["phase", 1], null],
  [["i"], ["mark", 0], ["unmark"], "I O", "start, end of the loop; with Shift: no loop range"],
  [["o"], ["mark", 1], ["unmark"]],
  [["<"], ["speed", -1], ["speed", -1], "< >", "slower, faster"],
  [[">"], ["speed", 1], ["speed", 1]],
  [["+", "="], ["zoom", 2], ["zoom", 2], "+ \u2212 0", "larger, smaller, as in the file (also double click, Ctrl + wheel)"],
  [["-"], ["zoom", 0.5], ["zoom", 0.5]],
  [["0"], ["reset"], null],
  [["v"], ["view"], null, "V", "zoom, brightness, contrast, measuring"],
  [["m"], ["measure"], null, "M", "measuring line"],
  [["s"], ["save"], null, "S", "save the frame"],
  [["f"], ["full"], null, "F", "full screen"],
  [["?"], ["help"], ["help"], "?", "this help"],
  [["escape"], ["leave"], ["leave"], "Esc", "close; leave the player"],
];
const ACTIONS = new Map(KEY_TABLE.flatMap(([keys, plain, shifted]) => keys.map((key) => [key, { plain, shifted: shifted ?? plain }])));
const PAN = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };

/** Return the action of a key, or null. Keys with Alt or Meta, and with Ctrl all but the arrows, belong to the browser and to JupyterLab. */
export function keyAction({ key, shiftKey = false, ctrlKey = false, altKey = false, metaKey = false }) {
  const name = key.toLowerCase();
  if (altKey || metaKey) return null;
  if (ctrlKey) return PAN[name] ? ["pan", PAN[name]] : null;
  return ACTIONS.get(name)?.[shiftKey ? "shifted" : "plain"] ?? null;
}

export const KEYS = [...KEY_TABLE.filter((row) => row.length > 3).map(([, , , keys, what]) => [keys, what]), ["Ctrl+arrows", "move the enlarged picture"]];

/** Return the view {scale, x, y} (the middle, from 0 to 1) enlarged by `factor`, with the point (px, py) of the pane in place. */
export function zoomAt({ scale, x, y }, factor, px = 0.5, py = 0.5) {
  const next = Math.max(1, Math.min(16, scale * factor));
  return clampView({ scale: next, x: x + (px - 0.5) / scale - (px - 0.5) / next, y: y + (py - 0.5) / scale - (py - 0.5) / next });
}

/** Return the view moved so that it does not leave the picture. */
export function clampView({ scale, x, y }) {
  const half = 0.5 / scale;
  const clamp = (at) => Math.max(half, Math.min(1 - half, at));
  return { scale, x: clamp(x), y: clamp(y) };
}

/** Return the number of columns and the width of a pane that fills `width` x `height` best; `fixed` columns if given. */
export function fitGrid(count, width, height, { aspect = 1, caption = 0, gap = 8, fixed = null }) {
  let best = { columns: 1, size: 0 };
  for (let columns = fixed ?? 1; columns <= (fixed ?? count); columns++) {
    const rows = Math.ceil(count / columns);
    const size = Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (rows - 1)) / rows - caption) * aspect);
    if (size > best.size) best = { columns, size };
  }
  return fixed ? { ...best, columns: fixed } : best;
}

/** Split a buffer (an ArrayBuffer or a view of one) into Uint8Arrays of the given sizes, which share its memory. */
export function slices(buffer, sizes) {
  const view = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  let at = 0;
  return sizes.map((size) => view.subarray(at, (at += size)));
}

/** Decode base64 text into bytes. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** A map that drops the least recently used values if the weights add up to more than `limit`. */
export class Cache {
  constructor(limit, weigh, forget = () => {}) {
    Object.assign(this, { limit, weigh, forget, weight: 0, map: new Map() });
  }
  get size() {
    return this.map.size;
  }
  has(key) {
    return this.map.has(key);
  }
  get(key) {
    const value = this.map.get(key);
    if (value !== undefined) {
      this.map.delete(key);
      this.map.set(key, value);
    }
    return value;
  }
  put(key, value) {
    this.remove(key);
    this.map.set(key, value);
    this.weight += this.weigh(value);
    for (const oldest of this.map.keys()) {
      if (this.weight <= this.limit || oldest === key) break;
      this.remove(oldest);
    }
  }
  remove(key) {
    const value = this.map.get(key);
    if (value === undefined) return;
    this.map.delete(key);
    this.weight -= this.weigh(value);
    this.forget(value, key);
  }
  clear() {
    for (const key of [...this.map.keys()]) this.remove(key);
  }
}

/** Send the first value at once, then at most one every `interval` milliseconds, and always the last one. */
export class Throttle {
  constructor(interval, send, now = () => performance.now(), wait = (f, ms) => setTimeout(f, ms)) {
    Object.assign(this, { interval, send, now, wait, last: -Infinity, timer: null });
  }
  /** Whether a value would be sent at once. */
  get due() {
    return this.now() - this.last >= this.interval;
  }
  offer(value) {
    this.pending = { value };
    const rest = this.last + this.interval - this.now();
    if (rest <= 0) this.flush();
    else if (this.timer === null) this.timer = this.wait(() => this.flush(), rest);
  }
  flush() {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const pending = this.pending;
    this.pending = null;
    if (!pending) return;
    this.last = this.now();
    this.send(pending.value);
  }
  stop() {
    this.pending = null;
    this.flush();
  }
}

// --- the engine: one per player ---------------------------------------------------------------------------------------

const JPEG_BUDGET = 256e6; // bytes
const BITMAP_BUDGET = 100e6; // bytes: 96 frames of 500 x 500; those of a whole video would take more than 1 GB
const DECODES_AT_ONCE = 4;
const MOST_AT_ONCE = 60e3; // bytes of a file that the main thread decodes; frames of the dataset have 20 kB
const FRAMES_PER_REQUEST = 256;
const STAND_IN_AFTER = 80; // milliseconds to wait for a frame before a neighbour is drawn instead
const REST = 60; // milliseconds after a seek until frames around the playhead are decoded: not while the slider is dragged
const PUBLISH_AFTER = 200; // milliseconds after a seek until the kernel hears of it, if the frame is not shown until then
const SPARE_DELAY = 1500; // milliseconds before a spare message is acknowledged while playing; the kernel waits for 2 seconds

/**
 * Decode JPEG bytes into a bitmap, or return null; within this task if `urgent` and the browser can. Of a truncated file, the
 * part that exists is shown, as in any web page.
 */
export async function decode(file, urgent = false) {
  const bytes = withoutOrientation(file);
  return (urgent && (await decodeAtOnce(bytes).catch(() => null))) || ((await decodeDirectly(bytes)) ?? (await decodeBlob(bytes, [])) ?? (await decodeBlob(bytes, [0xff, 0xd9])));
}

/**
 * Return JPEG bytes whose Exif segment, if there is one, has another name, so that browsers do not turn the picture: the
 * pixels are those of the file, as in Python. `imageOrientation` of createImageBitmap cannot ask for this.
 */
export function withoutOrientation(bytes) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + bytes[at + 2] * 256 + bytes[at + 3]) {
    if (bytes[at + 1] !== 0xe1) continue;
    const copy = bytes.slice();
    copy[at + 4] = 0x58; // "Xxif"
    return copy;
  }
  return bytes;
}

// Until when (in milliseconds) the main thread decodes nothing, because a picture took too long, or since this browser cannot.
let restUntil = -Infinity;
// Bytes that the main thread may still decode in this page: Chromium keeps the text of data URLs while it is open.
const page = (globalThis.embryoPage ??= { allowance: 100e6 });

/**
 * Decode in the main thread, before any other task: waiting for another thread takes several times as long as decoding, and on a
 * busy machine much longer. Chromium loads a data URL in the microtask that follows; return null in other browsers.
 */
async function decodeAtOnce(bytes) {
  const began = performance.now();
  if (!globalThis.Image || bytes.length > MOST_AT_ONCE || bytes.length > page.allowance || began < restUntil) return null;
  page.allowance -= bytes.length;
  const image = new Image();
  image.src = `data:image/jpeg;base64,${bytes.toBase64?.() ?? btoa(String.fromCharCode(...bytes))}`;
  await null;
  if (!image.complete) restUntil = Infinity;
  const bitmap = image.naturalWidth ? await createImageBitmap(image).catch(() => null) : null;
  const took = performance.now() - began;
  if (took > 50) restUntil = Math.max(restUntil, began + 20 * took);
  return bitmap;
}

/** Decode without a blob, which takes half the time. Only some browsers can, and only in secure pages. */
async function decodeDirectly(bytes) {
  if (!globalThis.ImageDecoder) return null;
  const decoder = new ImageDecoder({ data: bytes, type: "image/jpeg" });
  try {
    const { image, complete } = await decoder.decode();
    try {
      return complete ? await createImageBitmap(image) : null;
    } finally {
      image.close();
    }
  } catch {
    return null;
  } finally {
    decoder.close();
  }
}

async function decodeBlob(bytes, tail) {
  try {
    return await createImageBitmap(new Blob([bytes, new Uint8Array(tail)], { type: "image/jpeg" }));
  } catch {
    return null;
  }
}

// All engines of the page, the least recently used first. Each player has its own copy of this module, so the list is global.
const ENGINES = (globalThis[Symbol.for("nsw-embryo-engines")] ??= new Set());

/** Free the pictures of other players of this page, the least recently used first, until `bytes` more fit into `budget`. */
function makeRoom(engine, cache, bytes, budget) {
  let total = bytes;
  for (const each of ENGINES) total += each[cache].weight;
  for (const other of ENGINES) {
    if (total <= budget) return;
    if (other === engine || other.playing) continue;
    total -= other[cache].weight;
    other[cache].clear();
  }
}

export class Engine {
  constructor(model) {
    this.model = model;
    this.series = readSeries(model.get("_series"));
    this.views = new Set();
    this.counts = new Map();
    this.jpegs = new Cache(JPEG_BUDGET, (f) => f.bytes.length + 64, (f) => this.changeCount(f.group, -1));
    this.bitmaps = new Cache(BITMAP_BUDGET, (b) => b.width * b.height * 4, (b) => setTimeout(() => b.close())); // to free memory takes time; no picture waits for it
    this.decoding = new Set();
    this.requestedAt = new Map();
    this.capacity = 64;
    this.missingRounds = 0;
    this.target = null;
    this.paintedAt = this.soughtAt = -Infinity;
    this.axis = makeAxis(this.series, this.align);
    this.index = this.indexOfRun(model.get("value"));
    this.shown = this.index;
    this.exact = false;
    this.direction = 1;
    this.carry = 0.5;
    this.released = false; // whether the pictures were dropped because no view is left
    this.zoom = { scale: 1, x: 0.5, y: 0.5 };
    this.look = { brightness: 1, contrast: 1, smooth: true, curtain: 0.5 };
    this.measuring = false;
    this.line = [[0.3, 0.5], [0.7, 0.5]]; // the ends of the measuring line, from 0 to 1
    this.blinked = false;
    this.publisher = new Throttle(100, (run) => this.publishValue(run));
    this.annotator = model.get("_track")?.video ? new Annotator(this) : null; // see annotate.js
    ENGINES.add(this);
    this.listenToModel();
    this.requestDelivery();
  }

  // -- the traits of the model --

  listenToModel() {
    this.handlers = {
      "msg:custom": (message, buffers) => this.receive(message, buffers ?? []),
      "change:value": () => this.followValue(),
      "change:playing": () => (this.playing ? this.startPlaying() : this.stopPlaying()),
      "change:plane": () => this.changePlanes(),
      "change:all_planes": () => this.changePlanes(),
      "change:_track": () => this.annotator?.follow(),
      "change:_series": () => this.followSeries(),
      "change:_waiting": () => this.views.forEach((view) => view.showWaiting()),
      "change:align": () => this.changeAxis(),
      "change:mode": () => this.changePlanes(),
    };
    for (const name of ["fps", "speed", "loop", "bounds", "every_frame"]) {
      this.handlers[`change:${name}`] = () => this.applySettings();
    }
    for (const [name, handler] of Object.entries(this.handlers)) this.model.on(name, handler);
    this.onVisibilityChange = () => this.updateClock();
    document.addEventListener("visibilitychange", this.onVisibilityChange);
    if (this.playing) this.startPlaying();
  }

  get playing() {
    return this.model.get("playing");
  }
  get plane() {
    return this.model.get("plane");
  }
  get align() {
    return this.model.get("align") ?? "run";
  }
  /** The way in which the panes are shown: two panes may be combined in one picture. */
  get mode() {
    return this.panes.length === 2 ? this.model.get("mode") ?? "side" : "side";
  }
  get places() {
    return this.axis.places;
  }
  /** The run at the playhead: of the first video that can be aligned, except that aligned by run it is the place itself. */
  get run() {
    return this.runOfIndex(this.index);
  }
  runOfIndex(index) {
    return this.axis.align === "run" ? this.places[index] : this.runAt(this.axis.rows.findIndex(Boolean), index);
  }
  /** Return the run of a video at an index of the axis; undefined if the video cannot be aligned. */
  runAt(video, index) {
    return this.axis.rows[video]?.[index].run;
  }
  /** Return the index of the axis at which the first video that can be aligned shows a run. */
  indexOfRun(run) {
    if (this.axis.align === "run") return nearest(this.places, run);
    const row = this.axis.rows.find(Boolean) ?? [];
    let best = 0;
    row.forEach((at, i) => {
      if (Math.abs(at.run - run) < Math.abs(row[best].run - run) || (at.run === row[best].run && row[best].where)) best = i;
    });
    return best;
  }
  /** Frames per second; negative if playing backwards. */
  get rate() {
    return this.model.get("fps") * this.model.get("speed");
  }
  /** The panes shown side by side, [{video, plane}, ...]; all show the same run. */
  get panes() {
    const planes = this.model.get("all_planes") ? this.series.planes : [this.plane];
    return this.series.videos.flatMap((_, video) => planes.map((plane) => ({ video, plane })));
  }
  /** First and last index of the loop range; of everything if there is none, or if the loop is off. */
  get range() {
    const [low, high] = this.model.get("bounds").map((run) => this.indexOfRun(run));
    return low === undefined || !this.model.get("loop") ? [0, this.places.length - 1] : [low, high];
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }
  publishValue(run) {
    this.publishing = true;
    if (this.model.get("value") !== run) this.set({ value: run });
    this.publishing = false;
  }
  /** Go to the run that the kernel has set; ignore the value that this engine has just published. */
  followValue() {
    if (!this.publishing) this.seek(this.model.get("value"));
  }
  /** Align the videos otherwise; the run at the playhead stays. */
  changeAxis() {
    const { run } = this;
    this.axis = makeAxis(this.series, this.align);
    this.index = this.shown = this.indexOfRun(run);
    this.exact = false;
    for (const view of this.views) view.updateAxis();
    this.changePlanes();
  }
  /** Take what the kernel found since: planes of archives that it indexes, and what a blind reader sees after finishing. */
  followSeries() {
    this.series = readSeries(this.model.get("_series"));
    this.annotator?.updateSeries();
    this.changeAxis();
    for (const view of this.views) view.updatePlanes();
  }
  /** Show another plane, or all of them, and request the frames for that. */
  changePlanes() {
    this.expectFrame();
    this.updateBlinking();
    for (const view of this.views) view.arrangePanes();
    this.applySettings();
    this.requestNeeded();
  }
  /** Show two panes in turn, twice per second, while the mode is "blink". */
  updateBlinking() {
    clearInterval(this.blinkTimer);
    if (this.mode !== "blink" || !this.views.size) return;
    this.blinkTimer = setInterval(() => {
      this.blinked = !this.blinked;
      if (this.visible) this.paint();
    }, 500);
  }
  /** Update all views after a setting has changed. */
  applySettings() {
    for (const view of this.views) view.updateSettings();
    this.decodeNext();
    this.paint();
  }

  // -- receive frames --

  key(video, plane, index) {
    return `${video}/${plane}/${this.runAt(video, index)}`;
  }
  /** Return whether the file of a video exists in a plane at an index. */
  exists(video, plane, index) {
    return this.series.videos[video].has(plane, this.runAt(video, index));
  }
  /** Count the JPEGs held of each video and plane. */
  changeCount(group, by) {
    this.counts.set(group, (this.counts.get(group) ?? 0) + by);
  }
  get held() {
    return this.series.videos.reduce((sum, _, video) => sum + (this.counts.get(`${video}/${this.plane}`) ?? 0), 0);
  }
  store(video, plane, run, bytes, problem) {
    const key = `${video}/${plane}/${run}`;
    if (this.released || this.jpegs.has(key)) return;
    makeRoom(this, "jpegs", bytes.length, JPEG_BUDGET);
    const group = `${video}/${plane}`;
    this.changeCount(group, 1);
    this.jpegs.put(key, { bytes, problem, group, broken: !bytes.length });
    this.requestedAt.delete(key);
    this.missingRounds = 0;
  }
  /** Ask the kernel to deliver all frames, at the start or after a reload; `base64` if the host drops binary buffers. */
  requestDelivery(base64 = false) {
    this.base64 = base64;
    this.model.send({ kind: "hello", base64 });
  }
  /** Drop all pictures when the last view is gone, and ask the kernel to send no more. */
  release() {
    this.released = true;
    this.jpegs.clear();
    this.bitmaps.clear();
    clearTimeout(this.missingTimer);
    try {
      this.model.send({ kind: "bye" });
    } catch {
      // the kernel is gone, and sends nothing any more
    }
  }
  receive(message, buffers) {
    if (message.kind === "frames") this.unpackFrames(message, buffers);
    if (message.kind === "done") this.requestMissing();
  }
  unpackFrames(message, buffers) {
    const sizes = message.frames.map(([, , , size]) => size);
    const total = sizes.reduce((a, b) => a + b, 0);
    const data = message.data !== undefined ? fromBase64(message.data) : (buffers[0] ?? new Uint8Array());
    if (data.byteLength !== total) {
      if (!this.base64) this.requestDelivery(true); // the host dropped the binary buffers
      return;
    }
    const parts = slices(data, sizes);
    message.frames.forEach(([video, plane, run, , problem], i) => this.store(video, plane, run, parts[i], problem));
    const ack = () => this.disposed || this.model.send({ kind: "ack", seq: message.seq });
    if (!message.spare || this.model.get("all_planes")) ack();
    else if (this.ticking) setTimeout(ack, SPARE_DELAY); // frames that are not shown wait for those that are
    else if (globalThis.requestIdleCallback) requestIdleCallback(ack, { timeout: 300 });
    else ack();
    if (!this.exact || message.frames.some(([, plane]) => plane === this.plane)) this.showArrivals();
  }
  /** Show and decode what has just arrived. */
  showArrivals() {
    if (!this.exact) this.paint();
    this.decodeNext();
    this.updateHeldBars();
  }
  /** Redraw the bars of held frames, at most once per refresh of the display. */
  updateHeldBars() {
    this.heldBarFrame ??= requestAnimationFrame(() => {
      this.heldBarFrame = null;
      for (const view of this.views) view.drawHeldBar();
    });
  }

  // -- request frames: those needed now and, after the push, those that did not arrive --

  /** Return the frames that are neither held nor were requested within the last second. */
  notRequested(keys) {
    const now = performance.now();
    return keys.filter(([key]) => !this.jpegs.has(key) && !(now - this.requestedAt.get(key) < 1000));
  }
  /** Request the frames that are needed now; several calls within 40 ms are one request. */
  requestNeeded() {
    this.requestTimer ??= setTimeout(() => {
      this.requestTimer = null;
      this.sendRequest(this.notRequested(this.framesToDecode().filter(([, video, plane, run]) => this.series.videos[video].has(plane, run))));
    }, 40);
  }
  sendRequest(items) {
    const now = performance.now();
    const chosen = items.slice(0, FRAMES_PER_REQUEST);
    for (const [key] of chosen) this.requestedAt.set(key, now);
    if (chosen.length) this.model.send({ kind: "want", items: chosen.map(([, video, plane, run]) => [video, plane, run]) });
  }
  /** After the push: request all frames that were lost on the way, again every 1.1 s, up to 20 times without progress. */
  requestMissing() {
    const { videos, planes } = this.series;
    if (this.released || [...ENGINES].reduce((sum, { jpegs }) => sum + jpegs.weight, 0) > 0.8 * JPEG_BUDGET) return;
    const order = videos.map(({ all }) => coarseToFine(all.length).map((i) => all[i]));
    const lost = [this.plane, ...planes.filter((plane) => plane !== this.plane)].flatMap((plane) =>
      videos.flatMap((video, v) => order[v].flatMap((run) => (video.has(plane, run) ? [[`${v}/${plane}/${run}`, v, plane, run]] : []))),
    );
    const open = lost.filter(([key]) => !this.jpegs.has(key));
    this.sendRequest(this.notRequested(open));
    clearTimeout(this.missingTimer);
    if (open.length && this.missingRounds++ < 20) this.missingTimer = setTimeout(() => this.requestMissing(), 1100);
  }

  // -- decode frames: at most four at a time, the most urgent first, and none that is not needed any more --

  /** Return the next `count` indices in the direction of playing, nearest first. */
  placesAhead(count) {
    const [low, high] = this.range;
    const stride = Math.max(1, Math.round(Math.abs(this.rate) / 60)) * (this.rate < 0 ? -1 : 1);
    const loop = this.model.get("loop");
    return Array.from({ length: count }, (_, k) => move(this.index, (k + 1) * stride, low, high, loop).index);
  }
  /** Return the frames that are needed now and next, most urgent first: [[key, video, plane, run], ...]. */
  framesToDecode() {
    const { panes } = this;
    const last = this.places.length - 1;
    const room = Math.min(32, Math.floor(this.capacity / panes.length) - 1);
    const near = [1, -1, 2, -2].map((k) => Math.max(0, Math.min(last, this.index + k)));
    const places = this.ticking ? [...this.chooseTarget(), this.index, ...this.placesAhead(room)] : [this.index, ...near];
    const wishes = places.flatMap((index) => panes.map((pane) => this.frameAt(pane, index)));
    if (!this.ticking) wishes.push(...this.otherPlanes());
    return wishes.slice(0, Math.max(this.capacity, panes.length));
  }
  frameAt({ video, plane }, index) {
    return [this.key(video, plane, index), video, plane, this.runAt(video, index)];
  }
  /** Return the same run in the other planes, nearest first: a user who pauses at a frame may change the focal plane. */
  otherPlanes() {
    const { planes, videos } = this.series;
    if (this.model.get("all_planes")) return [];
    const at = planes.indexOf(this.plane);
    const others = planes.map((plane, i) => [Math.abs(i - at), plane]).filter(([far]) => far > 0).sort(([a], [b]) => a - b);
    return others.flatMap(([, plane]) => videos.map((_, video) => this.frameAt({ video, plane }, this.index)));
  }
  /** Choose the index to decode first, and keep it until it is ready: otherwise a slow machine would start many frames and finish none. */
  chooseTarget() {
    const behind = (this.index - this.target) * this.direction;
    if (this.target !== null && (this.isReady(this.target) || behind < 0 || behind > 64)) this.target = null;
    if (this.target === null && !this.isReady(this.index) && this.isHeld(this.index)) this.target = this.index;
    return this.target === null ? [] : [this.target];
  }
  /** Return whether the JPEGs of all panes are held for an index. */
  isHeld(index) {
    return this.panes.every(({ video, plane }) => this.jpegs.has(this.key(video, plane, index)) || !this.exists(video, plane, index));
  }
  /** Start to decode the most urgent frames that are held, up to the limit. */
  decodeNext() {
    if (this.disposed || this.decoding.size >= DECODES_AT_ONCE) return;
    const rest = this.ticking || !this.exact ? 0 : this.soughtAt + REST - performance.now();
    if (rest > 0) {
      this.restTimer ??= setTimeout(() => {
        this.restTimer = null;
        this.decodeNext();
      }, rest);
      return;
    }
    const wishes = this.framesToDecode();
    // after a seek, decode nothing but what is asked for; the neighbours would take a part of the processor
    if (!this.ticking && !this.exact) wishes.splice(this.panes.length, Infinity, ...this.findStandIns());
    // if the exact frame is shown and the player is paused, decode one at a time, so that the next request need not wait
    const most = this.ticking || !this.exact ? DECODES_AT_ONCE : 1;
    for (const [key] of wishes) {
      if (this.decoding.size >= most) return;
      const jpeg = this.jpegs.map.get(key);
      if (jpeg && !jpeg.broken && !this.bitmaps.has(key) && !this.decoding.has(key)) this.decodeFrame(key, jpeg);
    }
  }
  async decodeFrame(key, jpeg) {
    this.decoding.add(key);
    // two panes at most: more of them are decoded sooner by several threads; and no truncated file
    const bitmap = await decode(jpeg.bytes, !jpeg.problem && !this.ticking && !this.exact && this.panes.length < 3);
    this.decoding.delete(key);
    if (this.disposed) return bitmap?.close();
    if (bitmap) this.keepBitmap(key, bitmap);
    else jpeg.broken = true;
    if (!this.exact) this.paint();
    this.decodeNext();
  }
  /** Put a bitmap into the cache, which always has room for two bitmaps per pane. */
  keepBitmap(key, bitmap) {
    const weight = bitmap.width * bitmap.height * 4;
    makeRoom(this, "bitmaps", weight, BITMAP_BUDGET);
    this.bitmaps.limit = Math.max(BITMAP_BUDGET, 2 * this.panes.length * weight);
    this.capacity = Math.floor((0.8 * this.bitmaps.limit) / weight);
    this.bitmaps.put(key, bitmap);
  }
  /** Return, for each pane whose frame has not arrived, the nearest frame that is held. */
  findStandIns() {
    return this.panes.flatMap(({ video, plane }) => {
      if (this.jpegs.has(this.key(video, plane, this.index)) || !this.exists(video, plane, this.index)) return [];
      const index = this.findNearest((i) => this.jpegs.has(this.key(video, plane, i)) && !this.jpegs.map.get(this.key(video, plane, i)).broken);
      return index < 0 ? [] : [this.frameAt({ video, plane }, index)];
    });
  }
  /** Return the index nearest to the playhead for which `good(index)` is true; otherwise -1. */
  findNearest(good) {
    const n = this.places.length;
    for (let d = 0; d < n; d++) {
      if (this.index - d >= 0 && good(this.index - d)) return this.index - d;
      if (this.index + d < n && good(this.index + d)) return this.index + d;
    }
    return -1;
  }

  // -- show frames --

  /** Return what a pane can show at an index: {kind: exact | missing | broken | waiting, index, key, bitmap, problem}. */
  lookUp({ video, plane }, index) {
    const key = this.key(video, plane, index);
    if (!this.exists(video, plane, index)) return { kind: "missing", index, key };
    const jpeg = this.jpegs.map.get(key);
    if (jpeg?.broken) return { kind: "broken", index, key, problem: jpeg.problem || "the image cannot be decoded" };
    const bitmap = this.bitmaps.get(key);
    return bitmap ? { kind: "exact", index, key, bitmap, problem: jpeg?.problem } : { kind: "waiting", index, key };
  }
  isReady(index) {
    return this.panes.every((pane) => this.lookUp(pane, index).kind !== "waiting");
  }
  /** Return the index to show while playing: the latest one, up to the playhead, that is ready in all panes. */
  latestReady() {
    const back = this.direction;
    for (let i = this.index, n = 0; i !== this.shown && n < 64; i -= back, n++) {
      if (i < 0 || i >= this.places.length) break;
      if (this.isReady(i)) return i;
    }
    return this.isReady(this.index) ? this.index : this.shown;
  }
  paint() {
    if (this.disposed) return;
    const at = this.ticking ? this.latestReady() : this.index;
    // decoding takes a few milliseconds, so drawing a neighbour in the meantime would only delay the frame
    const soon = performance.now() - this.paintedAt < STAND_IN_AFTER;
    const looks = this.panes.map((pane) => {
      const look = this.lookUp(pane, at);
      if (look.kind !== "waiting" || this.ticking || (soon && this.jpegs.has(look.key))) return look;
      const near = this.findNearest((i) => this.bitmaps.has(this.key(pane.video, pane.plane, i)));
      return near < 0 ? look : { ...this.lookUp(pane, near), kind: "near" };
    });
    this.shown = at;
    this.exact = at === this.index && looks.every(({ kind }) => kind !== "waiting" && kind !== "near");
    if (soon && !this.exact && !this.ticking) this.standInTimer ??= setTimeout(() => this.paintStandIns(), STAND_IN_AFTER);
    else this.paintedAt = performance.now();
    for (const view of this.views) view.draw(looks);
    this.publishShown();
  }
  /** Draw neighbours in place of frames that have taken too long. */
  paintStandIns() {
    this.standInTimer = null;
    if (!this.exact) this.paint();
  }

  /** Note that another frame is wanted now: what is shown was right until this moment. */
  expectFrame() {
    if (this.exact) this.paintedAt = performance.now();
    this.exact = false;
  }

  // -- the clock --

  /** Go to the run nearest to `run`; the latest call wins. */
  seek(run) {
    this.goToIndex(this.indexOfRun(run));
  }
  /** Go to the place nearest to `place` on the axis. */
  seekPlace(place) {
    this.goToIndex(nearest(this.places, place));
  }
  goToIndex(index) {
    this.index = index;
    this.soughtAt = performance.now();
    this.expectFrame();
    this.becomeLatest();
    if (this.ticking) {
      this.shown = index;
      this.carry = 0;
    }
    this.paint();
    this.decodeNext();
    if (!this.exact) this.requestNeeded();
    this.publishTimer ??= setTimeout(() => this.publishPlace(), PUBLISH_AFTER);
    this.publishShown();
  }
  /** Tell the kernel where the playhead is now. */
  publishPlace() {
    clearTimeout(this.publishTimer);
    this.publishTimer = null;
    this.publisher.offer(this.run);
  }
  /** After a seek, tell the kernel as soon as the frame is shown: no picture waits for a message. */
  publishShown() {
    if (!this.exact || !this.publishTimer || !this.publisher.due) return;
    clearTimeout(this.publishTimer);
    this.publishTimer = setTimeout(() => this.publishPlace());
  }
  /** Keep the pictures of this player longest: it is the one that is used now. */
  becomeLatest() {
    ENGINES.delete(this);
    ENGINES.add(this);
  }
  step(by) {
    if (this.playing) this.pause();
    this.goToIndex(move(this.index, by, 0, this.places.length - 1, false).index);
  }
  /** Stop; the next Play goes forward, also after Reverse. */
  pause() {
    this.set({ playing: false, speed: Math.abs(this.model.get("speed")) });
  }
  /** Play in the direction `sign`, or pause if that is what happens already. */
  togglePlaying(sign) {
    if (this.playing && (sign === undefined || Math.sign(this.rate) === sign)) this.pause();
    else this.set({ speed: (sign ?? 1) * Math.abs(this.model.get("speed")), playing: true });
  }
  startPlaying() {
    const [low, high] = this.range;
    const end = this.rate < 0 ? low : high;
    if (this.index === end || this.index < low || this.index > high) this.index = this.rate < 0 ? high : low;
    this.becomeLatest();
    this.carry = 0.5; // half a frame of tolerance on either side, so that an uneven display rate does not skip or repeat frames
    this.updateClock();
    for (const view of this.views) view.updateSettings();
  }
  get visible() {
    return !document.hidden && [...this.views].some((view) => view.visible);
  }
  /** Start or stop the clock: it runs only while the player plays and is visible. */
  updateClock() {
    const run = this.playing && this.visible && !this.disposed;
    if (run && !this.ticking) {
      this.lastTick = null;
      this.ticking = requestAnimationFrame((now) => this.tick(now));
    } else if (!run && this.ticking) {
      cancelAnimationFrame(this.ticking);
      this.ticking = null;
    }
  }
  tick(now) {
    this.ticking = requestAnimationFrame((next) => this.tick(next));
    const elapsed = this.lastTick === null ? 0 : Math.min(250, now - this.lastTick);
    this.lastTick = now;
    this.direction = this.rate < 0 ? -1 : 1;
    let { steps, carry } = advance(this.carry, elapsed, Math.abs(this.rate));
    if (this.model.get("every_frame") && steps > 0) {
      const done = this.shown === this.index && this.exact;
      carry = done ? Math.min(carry, 0.5) : 1;
      steps = done ? 1 : 0;
    }
    this.carry = carry;
    if (steps) this.moveOn(steps);
    else if (!this.exact) this.paint();
    this.decodeNext();
  }
  moveOn(steps) {
    const [low, high] = this.range;
    const from = this.index;
    const { index, ended } = move(from, steps * this.direction, low, high, this.model.get("loop"));
    this.index = index;
    if ((index - from) * this.direction < 0) this.shown = from; // the loop starts again
    this.exact = false;
    this.paint();
    this.publisher.offer(this.run);
    if (!this.exact) this.requestNeeded();
    if (ended) this.pause();
  }
  stopPlaying() {
    this.updateClock();
    this.exact = false;
    this.paint();
    this.decodeNext();
    if (!this.exact) this.requestNeeded();
    this.publishPlace();
    this.publisher.flush();
    for (const view of this.views) view.updateSettings();
  }

  // -- actions of keys and buttons --

  perform([name, by]) {
    const { planes } = this.series;
    const acts = {
      toggle: () => this.togglePlaying(),
      reverse: () => this.togglePlaying(-1),
      shuttle: () => this.set({ speed: this.playing ? shuttle(this.model.get("speed"), by) : by, playing: true }),
      step: () => this.step(by),
      plane: () => this.set({ plane: planes[Math.max(0, Math.min(planes.length - 1, planes.indexOf(this.plane) + by))] }),
      edge: () => this.goToIndex(by < 0 ? 0 : this.places.length - 1),
      speed: () => this.set({ speed: nextSpeed(this.model.get("speed"), by) }),
      phase: () => this.goToNextPhase(by),
      mark: () => this.markLoop(by),
      unmark: () => this.set({ bounds: [] }),
      zoom: () => this.changeZoom(zoomAt(this.zoom, by)),
      pan: () => this.changeZoom(clampView({ ...this.zoom, x: this.zoom.x + (0.1 * by[0]) / this.zoom.scale, y: this.zoom.y + (0.1 * by[1]) / this.zoom.scale })),
      reset: () => this.resetView(),
      measure: () => this.changeLook({}, !this.measuring),
      save: () => this.panes.filter(({ plane }) => plane === this.plane).forEach((pane) => this.saveFrame(pane)),
    };
    acts[name]?.();
  }
  /** Go to the next phase that has a frame, in the direction `by`, of the first video that can be aligned. */
  goToNextPhase(by) {
    const video = this.series.videos[Math.max(0, this.axis.rows.findIndex(Boolean))];
    const starts = video.phases.map((phase) => ({ name: phase[0], run: startOf(video, phase, this.plane) })).filter(({ run }) => run !== undefined);
    starts.sort((a, b) => a.run - b.run);
    const next = by > 0 ? starts.find(({ run }) => run > this.run) : starts.findLast(({ run }) => run < this.run);
    if (next) return this.seek(next.run);
    if (by < 0) return this.goToIndex(0);
    this.showMessage(starts.length ? `${starts.at(-1).name} is the last phase with frames` : "no phase has frames");
  }
  /** Set the start (0) or the end (1) of the loop range to the run at the playhead. */
  markLoop(end) {
    const [low, high] = this.model.get("bounds").length ? this.model.get("bounds") : [0, this.places.length - 1].map((i) => this.runOfIndex(i));
    this.set({ bounds: end ? [Math.min(low, this.run), this.run] : [this.run, Math.max(high, this.run)], loop: true });
  }
  /** Show a short message in all views. */
  showMessage(text) {
    for (const view of this.views) view.showMessage(text);
  }
  changeZoom(zoom) {
    this.zoom = zoom;
    for (const view of this.views) view.updateLook();
  }
  /** Change how the pictures are displayed: brightness, contrast, smooth, curtain. */
  changeLook(changes, measuring = this.measuring) {
    Object.assign(this.look, changes);
    this.measuring = measuring;
    for (const view of this.views) view.updateLook();
    if ("curtain" in changes) this.paint();
  }
  resetView() {
    this.changeZoom({ scale: 1, x: 0.5, y: 0.5 });
    this.changeLook({ brightness: 1, contrast: 1 });
  }
  /** Save the file of a pane under a name that contains video, plane and run. */
  saveFrame({ video, plane }) {
    const run = this.runAt(video, this.index);
    const bytes = this.bytes(video, plane, run);
    if (!bytes) return this.showMessage(`run ${run} is not here yet`);
    const link = makeElement("a", { href: URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })), download: `${this.series.videos[video].name}_${plane}_RUN${run}.jpeg` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  /** Return the sizes of the caches, for tests. */
  stats() {
    const { jpegs, bitmaps, decoding } = this;
    return { jpegs: jpegs.size, jpegBytes: jpegs.weight, bitmaps: bitmaps.size, bitmapBytes: bitmaps.weight, decoding: decoding.size };
  }
  /** Return a copy of the bytes of a frame, or null if it is not held. */
  bytes(video, plane, run) {
    const jpeg = this.jpegs.map.get(`${video}/${plane}/${run}`);
    return jpeg ? jpeg.bytes.slice() : null;
  }
  dispose() {
    this.disposed = true;
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    document.removeEventListener("visibilitychange", this.onVisibilityChange);
    this.updateClock();
    clearTimeout(this.requestTimer);
    clearTimeout(this.missingTimer);
    clearTimeout(this.standInTimer);
    clearTimeout(this.publishTimer);
    clearTimeout(this.restTimer);
    clearTimeout(this.releaseTimer);
    clearInterval(this.blinkTimer);
    this.publisher.stop();
    ENGINES.delete(this);
    this.jpegs.clear();
    this.bitmaps.clear();
  }
}

// --- the view: one display of a player ---------------------------------------------------------------------------------

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z", previous: "M11 3v10L4 8zM11.5 3h2v10h-2z", play: "M4 2.5v11L13.5 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z", next: "M5 3v10l7-5zM2.5 3h2v10h-2z", last: "M11 3h2v10h-2zM3 3v10l7-5z",
  back: "M12 2.5v11L2.5 8z", full: "M2 2h5v2H4v3H2zM9 2h5v5h-2V4H9zM2 9h2v3h3v2H2zM12 9h2v5H9v-2h3z",
};

/** Create an element; the attribute `text` sets its text, and on* adds a listener. */
function makeElement(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
function makeIcon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
/** Write only what has changed: at sixty frames per second this saves most of the work. */
function updateText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function updateAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}
function makeChip(name) {
  const node = makeElement("span", { class: "ep-chip", "aria-hidden": "true" });
  node.style.background = PHASES[name] ?? "transparent";
  return node;
}

export class View {
  constructor(engine, host) {
    this.engine = engine;
    this.host = host;
    this.visible = true;
    this.aspect = 1;
    const { videos } = engine.series;
    this.several = videos.length > 1;
    host.classList.add("ep-host");
    this.root = makeElement("div", {
      class: "embryo-player", tabindex: "0", role: "group", "data-lm-suppress-shortcuts": "true",
      "aria-label": `Embryo time-lapse ${videos.map((video) => video.name).join(", ")}`,
    });
    this.root.embryo = { stats: () => engine.stats(), bytes: (...frame) => engine.bytes(...frame) };
    this.stage = makeElement("div", { class: "ep-panes" });
    this.root.classList.toggle("ep-many", this.several);
    this.annotation = engine.annotator ? new AnnotationView(this) : null;
    this.side = this.annotation?.panel ?? (this.several ? null : this.makeSide());
    this.main = makeElement("div", { class: "ep-main" }, this.stage, ...(this.side ? [this.side] : []));
    this.message = makeElement("p", { class: "ep-message", role: "status" });
    this.timeline = this.makeTimeline();
    this.waiting = makeElement("span", { class: "ep-quiet ep-waiting", role: "status" });
    this.root.append(this.main, this.timeline, this.makeTransport(), (this.settings = this.makeSettingsRow()), this.makeViewPanel(), this.makeHelp(), this.message);
    this.showWaiting();
    host.append(this.root);
    this.listenToInput();
    this.listenToPointer();
    this.watchSize();
    this.arrangePanes();
    this.updateSettings();
    this.drawHeldBar();
  }

  // -- parts --

  makeButton(label, name, act, title = label) {
    const node = makeElement("button", { type: "button", class: "ep-button", "aria-label": label, title, onclick: act });
    node.append(makeIcon(name));
    return node;
  }
  /** Make a button that looks pressed while `isOn()` is true. */
  makeSwitch(text, label, isOn, flip) {
    const node = makeElement("button", { type: "button", class: "ep-toggle", title: label, "aria-pressed": "false", text, onclick: flip });
    node.update = () => updateAttribute(node, "aria-pressed", String(isOn()));
    (this.toggles ??= []).push(node);
    return node;
  }
  makeToggle(text, label, trait) {
    const { engine } = this;
    return this.makeSwitch(text, label, () => engine.model.get(trait), () => engine.set({ [trait]: !engine.model.get(trait) }));
  }
  /** Make the panel at the side: name, grade, and the list of phases, each a button that goes to its first frame. */
  makeSide() {
    const [video] = this.engine.series.videos;
    this.phaseItems = video.phases.map((phase) => this.makePhaseItem(video, phase));
    const grade = video.grade ? `TE ${video.grade[0]} \u00b7 ICM ${video.grade[1]}` : video.lacks?.includes("grades") ? "no grades file in this copy" : "not graded";
    const none = video.lacks?.includes("phases") ? "no phases file in this copy" : "not annotated";
    return makeElement(
      "div",
      { class: "ep-side" },
      makeElement("div", { class: "ep-title" }, makeElement("strong", { text: video.name }), makeElement("span", { class: "ep-quiet", text: grade })),
      this.phaseItems.length
        ? makeElement("ol", { class: "ep-phases", "aria-label": "Phases" }, ...this.phaseItems.map(({ go }) => makeElement("li", {}, go)))
        : makeElement("p", { class: "ep-problem ep-quiet", text: video.faults.length ? "no phases, because:" : none }),
      ...video.faults.map((text) => makeElement("p", { class: "ep-problem ep-quiet", text })),
    );
  }
  /** Make one row of the phase list; it is greyed if the phase has no frame. */
  makePhaseItem(video, phase) {
    const [name, meaning, first, last] = phase;
    const start = startOf(video, phase, this.engine.plane);
    const empty = start === undefined;
    const hour = video.hours.get(start);
    const act = () => (empty ? this.showMessage(`${name} has no frame here`) : this.engine.seek(startOf(video, phase, this.engine.plane)));
    const go = makeElement(
      "button",
      {
        type: "button", class: "ep-phase", "data-phase": name, "aria-disabled": empty ? "true" : null, onclick: act,
        title: empty ? `${name}, ${meaning}: no frame here (runs ${first} to ${last})` : `${name}, ${meaning}: runs ${first} to ${last}`,
      },
      makeChip(name),
      makeElement("b", { text: name }),
      makeElement("span", { class: "ep-meaning", text: meaning }),
      makeElement("span", { class: "ep-at", text: empty ? "no frame here" : hour === undefined ? `run ${start}` : `${hour.toFixed(1)} h` }),
    );
    return { go, first, last };
  }

  // -- the timeline: bands, activity, seek bar, ticks --

  makeTimeline() {
    const { engine } = this;
    const { videos } = engine.series;
    const { places } = engine;
    const [first, last] = [places[0], places.at(-1)];
    const bands = videos.flatMap((video, v) => [...(this.annotation?.bands ?? [this.makeBand(video, v)]), ...(video.activity ? [this.makeActivity(video, v)] : [])]);
    this.playhead = makeElement("div", { class: "ep-playhead", "aria-hidden": "true" });
    this.heldBar = makeElement("canvas", { class: "ep-fill", width: Math.max(1, Math.min(2000, places.length)), height: "1", "aria-hidden": "true" });
    this.loop = makeElement("button", {
      type: "button", class: "ep-loop", hidden: true, "aria-label": "Clear the loop range", title: "loop range; click to clear it (Shift+I)",
      onclick: () => engine.perform(["unmark"]),
    });
    const go = () => engine.seekPlace(Number(this.seek.value));
    this.seek = makeElement("input", {
      type: "range", class: "ep-seek", "aria-label": "Seek", min: first, max: last > first ? last : first + 1,
      step: engine.axis.align === "run" ? "1" : "any", value: first, oninput: go, onchange: go,
    });
    const ticks = this.ticks().map(([place, text, title]) => {
      const tick = makeElement("span", { class: "ep-tick", text, title });
      tick.style.left = `${100 * along(place, first, last)}%`;
      return tick;
    });
    const box = makeElement("div", { class: "ep-bands" }, ...bands, this.playhead);
    box.addEventListener("click", (event) => this.seekOnBand(event));
    return makeElement("div", { class: "ep-timeline" }, box, this.loop, this.seek, this.heldBar, makeElement("div", { class: "ep-ticks" }, ...ticks));
  }
  /** Return the ticks [[place, text, title], ...] in the unit of the axis. */
  ticks() {
    const { axis, series, places } = this.engine;
    const [first, last] = [places[0], places.at(-1)];
    if (axis.align === "run" && !this.several) return days(series.videos[0].hours).map(([hour, run]) => [run, `${hour} h`, `first run at or after ${hour} h: ${run}`]);
    const step = axis.unit === "h" ? 24 : [10, 20, 50, 100, 200, 500].find((size) => (last - first) / size <= 8) ?? 1000;
    const from = Math.ceil(first / step);
    const sign = (at) => (axis.align === "run" || axis.align === "hours" || at <= 0 ? String(at).replace("-", "\u2212") : `+${at}`);
    return Array.from({ length: Math.max(0, Math.floor(last / step) - from + 1) }, (_, i) => (from + i) * step).map((at) => {
      const text = at === 0 && axis.align !== "run" && axis.align !== "hours" ? axis.align : axis.unit === "h" ? `${sign(at)} h` : sign(at);
      return [at, text, placeText(axis, at)];
    });
  }
  /** Make the band of a video, all on one axis; parts outside the video remain empty. */
  makeBand(video, v) {
    const { axis, places } = this.engine;
    const byRun = axis.align === "run";
    const row = axis.rows[v];
    const band = makeElement("div", { class: "ep-band", "aria-hidden": "true" });
    if (this.several) band.append(makeElement("span", { class: "ep-band-name", text: video.name, title: video.name }));
    const track = makeElement("div", { class: "ep-track" });
    band.append(track);
    if (!row) return band;
    const [first, last] = byRun ? [places[0], places.at(-1)] : [0, places.length - 1];
    const inside = row.map(({ where }, i) => (where ? null : i)).filter((i) => i !== null);
    const [from, to] = [inside[0], inside.at(-1)].map((i) => (byRun ? places[i] : i));
    const phases = byRun ? video.phases : video.phases.map(([name, meaning, a, b]) => {
      const within = inside.filter((i) => a <= row[i].run && row[i].run <= b);
      return [name, meaning, within[0] ?? Infinity, within.at(-1) ?? -Infinity];
    }).filter(([, , a, b]) => a <= b);
    for (const part of segments(phases.map(([name, meaning, a, b]) => [name, meaning, Math.max(a, from), Math.min(b, to)]).filter(([, , a, b]) => a <= b), first, last)) {
      if (!part.name && (part.last < from || part.first > to)) continue;
      track.append(this.makeBandPart(video, part));
    }
    if (from > first) track.append(this.makeStretch("ep-beyond", first, from - 1, first, last));
    if (to < last) track.append(this.makeStretch("ep-beyond", to + 1, last, first, last));
    for (const [a, b] of byRun ? gaps(video.all) : []) {
      const gap = this.makeStretch("ep-gap", a, b, first, last);
      gap.title = a === b ? `run ${a} is missing` : `runs ${a} to ${b} are missing`;
      track.append(gap);
    }
    return band;
  }
  makeStretch(kind, from, to, first, last) {
    const node = makeElement("span", { class: kind });
    Object.assign(node.style, { left: `${100 * along(from - 0.5, first, last)}%`, width: `${(100 * (to - from + 1)) / Math.max(1, last - first)}%` });
    return node;
  }
  makeBandPart(video, { name, left, width, first, last }) {
    const phase = video.phases.find(([other]) => other === name);
    const start = phase && startOf(video, phase, this.engine.plane);
    const hour = video.hours.get(start);
    const title = phase ? `${name}, runs ${phase[2]}-${phase[3]}${hour === undefined ? "" : `, ${hourText(hour)}`}` : this.engine.axis.align === "run" ? `unlabelled, runs ${first}-${last}` : "unlabelled";
    const node = makeElement("span", { class: name ? "ep-part" : "ep-part ep-bare", title, "data-band-phase": name || null });
    Object.assign(node.style, { left: `${left}%`, width: `${width}%` });
    if (name) Object.assign(node.style, { background: PHASES[name], color: ink(PHASES[name]) });
    node.append(makeElement("span", { text: name }));
    return node;
  }
  /** Draw the change since the previous run, one line per place of the axis. */
  makeActivity(video, v) {
    const { axis, places } = this.engine;
    const canvas = makeElement("canvas", { class: "ep-activity", width: Math.min(4000, Math.max(1, places.length)), height: "18", role: "img", "aria-label": `activity of ${video.name}`, title: "change since the previous run" });
    const level = new Map(expand(video.activity.runs).map((run, i) => [run, parseInt(video.activity.levels[i], 36) / 35]));
    const context = canvas.getContext("2d");
    const byRun = axis.align === "run";
    const span = Math.max(1, byRun ? places.at(-1) - places[0] : places.length - 1);
    canvas.paint = () => {
      context.clearRect(0, 0, canvas.width, 18);
      context.fillStyle = getComputedStyle(canvas).color;
      axis.rows[v]?.forEach(({ run, where }, i) => {
        const height = 18 * (where ? 0 : level.get(run) ?? 0);
        const x = ((byRun ? places[i] - places[0] : i) / span) * (canvas.width - 1);
        context.fillRect(x, 18 - height, Math.max(1, canvas.width / span), height);
      });
    };
    requestAnimationFrame(canvas.paint);
    return canvas;
  }
  seekOnBand(event) {
    const { places } = this.engine;
    const box = this.playhead.parentElement.querySelector(".ep-band").getBoundingClientRect();
    const at = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    this.engine.seekPlace(places[0] + at * (places.at(-1) - places[0]));
  }
  /** Build the timeline again after the axis has changed. */
  updateAxis() {
    const old = this.timeline;
    this.timeline = this.makeTimeline();
    old.replaceWith(this.timeline);
    this.setCountWidth();
    this.updateSettings();
  }

  /** Offer the planes that have been found since. */
  updatePlanes() {
    const old = this.settings;
    old.replaceWith((this.settings = this.makeSettingsRow()));
    this.updateSettings();
  }
  /** Show what the kernel waits for, such as an archive that it is indexing. */
  showWaiting() {
    updateText(this.waiting, this.engine.model.get("_waiting") ?? "");
  }

  // -- the rows of controls --

  makeTransport() {
    const { engine } = this;
    const act = (...action) => () => engine.perform(action);
    this.playButton = this.makeButton("Play", "play", act("toggle"));
    this.playButton.classList.add("ep-play");
    this.reverseButton = this.makeButton("Reverse", "back", act("reverse"), "play backwards");
    this.number = makeElement("b", { class: "ep-run" });
    this.ofLast = makeElement("span", { class: "ep-quiet" });
    this.hour = makeElement("span", { class: "ep-hour" });
    this.phaseChip = makeChip("");
    this.phaseText = makeElement("span", { class: "ep-phase-now" });
    this.live = makeElement("span", { class: "ep-unseen", role: "status" });
    this.goto = makeElement("input", {
      type: "text", class: "ep-goto", placeholder: "run, hour, t8", "aria-label": "Go to run or hour", size: "18", title: "go to a run (231), an hour (62.4) or a phase (t8)",
      onkeydown: (event) => event.key === "Enter" && this.goTo(), onchange: () => this.goTo(), oninput: () => this.markGoto(""),
    });
    const phase = makeElement("span", { class: "ep-phase-box" }, this.phaseChip, this.phaseText);
    this.count = makeElement("span", { class: "ep-count" }, makeElement("span", { class: "ep-quiet", text: "run " }), this.number, this.ofLast);
    this.setCountWidth();
    return makeElement(
      "div",
      { class: "ep-row ep-transport" },
      makeElement(
        "div",
        { class: "ep-buttons" },
        this.makeButton("First frame", "first", act("edge", -1)),
        this.reverseButton,
        this.makeButton("Previous frame", "previous", act("step", -1)),
        this.playButton,
        this.makeButton("Next frame", "next", act("step", 1)),
        this.makeButton("Last frame", "last", act("edge", 1)),
      ),
      makeElement("div", { class: "ep-now" }, this.count, this.hour, ...(this.several ? [] : [phase])),
      this.live,
      this.goto,
    );
  }
  /** Reserve the width of the longest number and time, so that nothing moves while playing. */
  setCountWidth() {
    const { axis, places, series } = this.engine;
    const byRun = axis.align === "run";
    this.number.style.minWidth = `${String(places.at(-1)).length}ch`;
    updateText(this.ofLast, ` of ${places.at(-1)}`);
    this.count.hidden = !byRun;
    const texts = byRun
      ? series.videos[0].all.map((run) => this.hourOf(series.videos[0], run))
      : [places[0], places.at(-1)].map((place) => placeText(axis, place));
    const varies = texts.some((text) => text !== texts[0]); // not "no times file in this copy"
    this.hour.style.minWidth = varies ? `${Math.max(...new Set(texts.map(({ length }) => length)))}ch` : "";
    this.hour.hidden = byRun && this.several;
  }
  hourOf(video, run) {
    return hourText(video.hours.get(run), video.lacks?.includes("times") ? "no times file in this copy" : "no time recorded");
  }
  makeSettingsRow() {
    const { engine } = this;
    const { planes, videos } = engine.series;
    this.planeButtons = planes.map((plane) => {
      const pick = () => engine.set({ plane });
      return makeElement("button", { type: "button", class: "ep-plane", text: plane, title: `focal plane ${plane}`, "aria-pressed": "false", onclick: pick });
    });
    const pickSpeed = () => engine.set({ speed: Number(this.speed.value) * (Math.sign(engine.model.get("speed")) || 1) });
    this.speed = this.makeSelect("Speed", SPEEDS.map((speed) => [speed, `${speed}\u00d7`]), pickSpeed);
    this.rateText = makeElement("span", { class: "ep-quiet ep-rate" });
    const toggles = [this.makeToggle("loop", "repeat from the start", "loop")];
    toggles.push(this.makeToggle("every frame", "show every frame, even if that is slower", "every_frame"));
    if (planes.length > 1) toggles.push(this.makeToggle("all planes", "show all focal planes side by side", "all_planes"));
    const onsets = [...new Set(videos.flatMap((video) => video.phases.map(([name]) => name)))].sort((a, b) => Object.keys(PHASES).indexOf(a) - Object.keys(PHASES).indexOf(b));
    const aligns = [["run", "by run"], ["hours", "by hours"], ...onsets.map((name) => [name, `by ${name}`])];
    this.align = this.makeSelect("Align", aligns, () => engine.set({ align: this.align.value }));
    this.mode = this.makeSelect("Compare", ["side", "curtain", "difference", "blink"].map((mode) => [mode, mode === "side" ? "side by side" : mode]), () => engine.set({ mode: this.mode.value }));
    const compare = makeElement("div", { class: "ep-compare" }, ...(this.several ? [this.align] : []), this.mode);
    this.viewButton = this.makePanelButton("view", "View", "zoom, brightness, contrast, measuring (V)", () => this.viewPanel);
    this.helpButton = this.makePanelButton("?", "Help", "keyboard shortcuts", () => this.helpBox);
    this.fullButton = this.makeButton("Full screen", "full", () => this.toggleFullScreen(), "full screen (F)");
    this.fullButton.hidden = !document.fullscreenEnabled;
    return makeElement(
      "div",
      { class: "ep-row ep-settings" },
      makeElement("div", { class: "ep-planes", role: "group", "aria-label": "Focal plane" }, ...this.planeButtons, this.waiting),
      makeElement("div", { class: "ep-pace" }, this.speed, this.rateText),
      compare,
      makeElement("div", { class: "ep-toggles" }, ...toggles, this.viewButton, this.fullButton, this.helpButton),
    );
  }
  makeSelect(label, options, onchange) {
    return makeElement("select", { class: "ep-speed", "aria-label": label, title: label.toLowerCase(), onchange }, ...options.map(([value, text]) => makeElement("option", { value, text })));
  }
  makePanelButton(text, label, title, panel) {
    const node = makeElement("button", { type: "button", class: "ep-toggle", text, "aria-label": label, title, "aria-expanded": "false", onclick: () => this.togglePanel(panel()) });
    return node;
  }
  /** Open or close a panel, which covers a part of the player and moves nothing. */
  togglePanel(panel, open = panel.hidden) {
    this.helpBox.hidden = this.viewPanel.hidden = true;
    panel.hidden = !open;
    updateAttribute(this.helpButton, "aria-expanded", String(!this.helpBox.hidden));
    updateAttribute(this.viewButton, "aria-expanded", String(!this.viewPanel.hidden));
  }
  makeHelp() {
    const rows = [...KEYS, ...(this.annotation ? ANNOTATION_KEYS : [])].flatMap(([keys, what]) => [makeElement("dt", {}, ...keys.split(" ").map((key) => makeElement("kbd", { text: key }))), makeElement("dd", { text: what })]);
    this.helpBox = makeElement("div", { class: "ep-help ep-panel", hidden: true, role: "region", "aria-label": "Keyboard shortcuts", tabindex: "0" }, makeElement("dl", {}, ...rows));
    return this.helpBox;
  }
  /** Make the panel with zoom, brightness, contrast and measuring; the files remain as they are. */
  makeViewPanel() {
    const { engine } = this;
    const slider = (name, label, low, high) => {
      const input = makeElement("input", { type: "range", min: low, max: high, step: "0.05", "aria-label": label, oninput: () => engine.changeLook({ [name]: Number(input.value) }) });
      return [name, input, makeElement("label", {}, makeElement("span", { text: label }), input)];
    };
    this.sliders = [slider("brightness", "Brightness", 0.2, 3), slider("contrast", "Contrast", 0.2, 4), slider("curtain", "Curtain", 0, 1)];
    this.zoomText = makeElement("span", { class: "ep-zoom" });
    const button = (text, label, act) => makeElement("button", { type: "button", class: "ep-toggle", text, "aria-label": label, onclick: act });
    const smooth = this.makeSwitch("smooth", "interpolate between the pixels of an enlarged picture", () => engine.look.smooth, () => engine.changeLook({ smooth: !engine.look.smooth }));
    const measure = this.makeSwitch("measure", "measuring line (M)", () => engine.measuring, () => engine.perform(["measure"]));
    const zoom = makeElement(
      "div", { class: "ep-zooms" },
      button("\u2212", "Zoom out", () => engine.perform(["zoom", 0.5])), this.zoomText, button("+", "Zoom in", () => engine.perform(["zoom", 2])),
      button("reset", "Reset the view", () => engine.resetView()), smooth, measure,
    );
    this.viewPanel = makeElement("div", { class: "ep-panel ep-view", hidden: true, role: "group", "aria-label": "View" }, zoom, ...this.sliders.map(([, , label]) => label));
    return this.viewPanel;
  }

  // -- go to --

  goTo() {
    const text = this.goto.value;
    if (!text.trim()) return this.markGoto("");
    const { problem, place, run, note } = this.findPlace(parseGoto(text));
    this.markGoto(problem ?? "");
    if (problem) return;
    this.goto.value = "";
    if (place !== undefined) this.engine.seekPlace(place);
    else this.engine.seek(run);
    if (note) this.showMessage(note);
  }
  /** Return {run} or {place}, or {problem} in words, for what `parseGoto` has found; of several videos, the first counts. */
  findPlace({ problem, run, hour, phase }) {
    const { series, axis, places, plane } = this.engine;
    const video = series.videos[Math.max(0, axis.rows.findIndex(Boolean))];
    const of = this.several ? ` of ${video.name}` : "";
    if (problem) return { problem };
    if (run !== undefined) {
      const runs = axis.align === "run" ? places : video.all;
      if (run < runs[0] || run > runs.at(-1)) return { problem: `there is no run ${run}; the runs are ${runs[0]} to ${runs.at(-1)}` };
      const near = runs[nearest(runs, run)];
      return { run: near, note: near === run ? "" : `run ${run} is missing; run ${near} is shown` };
    }
    if (phase) {
      const row = video.phases.find(([name]) => name === phase);
      const start = row && startOf(video, row, plane);
      if (start === undefined) return { problem: row ? `${phase} has no frame here` : `${video.name} has no phase ${phase}` };
      return { run: start, note: of && `${phase}${of}` };
    }
    if (axis.align === "hours" && axis.unit === "h") return hour < places[0] - 1 || hour > places.at(-1) + 1 ? { problem: `there is no frame at ${hour} h; the hours are ${places[0]} to ${places.at(-1)}` } : { place: hour };
    const hours = [...video.hours.values()];
    if (!hours.length) return { problem: this.hourOf(video, -1) };
    const [low, high] = [Math.min(...hours), Math.max(...hours)];
    if (hour < low - 1 || hour > high + 1) return { problem: `there is no frame at ${hour} h; the hours${of} are ${low.toFixed(1)} to ${high.toFixed(1)}` };
    return { run: runAtHour(video.hours, hour), note: of && `${hour} h${of}` };
  }
  markGoto(problem) {
    this.goto.classList.toggle("ep-wrong", problem !== "");
    updateAttribute(this.goto, "aria-invalid", String(problem !== ""));
    this.showMessage(problem);
  }
  /** Show a message for some seconds; it covers a part of the player and moves nothing. */
  showMessage(text) {
    updateText(this.message, text);
    clearTimeout(this.messageTimer);
    if (text) this.messageTimer = setTimeout(() => updateText(this.message, ""), 6000);
  }

  // -- focus, keys, wheel --

  listenToInput() {
    const { root, engine } = this;
    root.addEventListener("keydown", (event) => this.handleKey(event));
    root.addEventListener("focusin", ({ relatedTarget }) => {
      if (relatedTarget && !root.contains(relatedTarget)) this.focusedBefore = relatedTarget;
    });
    // after a click the keys act on the player again, not on the button or slider
    const refocus = ({ type, target }) => {
      const done = type === "click" ? target.closest("button:not(.ep-handle)") : target.closest("select, input[type=range]");
      if (this.byPointer && done) root.focus({ preventScroll: true });
    };
    root.addEventListener("pointerdown", () => (this.byPointer = true), true);
    root.addEventListener("click", refocus);
    root.addEventListener("change", refocus);
    let scrolled = 0;
    const scroll = (event) => {
      if (!root.contains(document.activeElement)) return;
      if (event.ctrlKey) {
        event.preventDefault();
        return engine.changeZoom(zoomAt(engine.zoom, event.deltaY < 0 ? 1.25 : 0.8, ...this.pointIn(event)));
      }
      if (engine.series.planes.length < 2) return;
      event.preventDefault();
      scrolled += event.deltaY;
      if (Math.abs(scrolled) < 40) return;
      engine.perform(["plane", scrolled < 0 ? 1 : -1]);
      scrolled = 0;
    };
    this.stage.addEventListener("wheel", scroll, { passive: false });
    this.visibilityObserver = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      engine.updateClock();
    });
    this.visibilityObserver.observe(root);
  }
  handleKey(event) {
    if (this.annotation?.handleKey(event)) return;
    const { target } = event;
    this.byPointer = false;
    const handle = target.closest(".ep-handle");
    if (handle && this.moveHandle(handle, event)) return;
    const typing = target.matches("input[type=text], select") || (target.matches("input[type=range]") && target !== this.seek);
    const action = keyAction(event);
    if (action?.[0] === "pan" && this.engine.zoom.scale === 1) return;
    if (!action || (typing && action[0] !== "leave") || (event.key === " " && target.matches("button"))) return;
    event.preventDefault();
    event.stopPropagation();
    const own = {
      leave: () => this.releaseFocus(), help: () => this.togglePanel(this.helpBox), view: () => this.togglePanel(this.viewPanel), full: () => this.toggleFullScreen(),
    };
    if (own[action[0]]) own[action[0]]();
    else this.engine.perform(action);
  }
  /** Close what is open; otherwise return the focus to the previous element, or to the notebook cell around the player. */
  releaseFocus() {
    const open = [this.helpBox, this.viewPanel].find((panel) => !panel.hidden);
    if (open) {
      if (open.contains(document.activeElement)) this.root.focus({ preventScroll: true });
      return this.togglePanel(open, false);
    }
    const cell = this.root.closest(".jp-Cell, .jp-Notebook");
    const back = this.focusedBefore?.isConnected ? this.focusedBefore : cell;
    document.activeElement.blur();
    back?.focus({ preventScroll: true });
  }

  // -- pointer: zoom, pan, curtain, measuring line --

  /** Return the point of an event within the pane under it, from 0 to 1. */
  pointIn({ target, clientX, clientY }) {
    const box = (target.closest(".ep-frame") ?? this.panes[0].frame).getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }
  listenToPointer() {
    const { stage, engine } = this;
    stage.addEventListener("dblclick", (event) => event.target.closest(".ep-frame") && !event.target.closest(".ep-handle") && engine.changeZoom(zoomAt(engine.zoom, 2, ...this.pointIn(event))));
    let drag = null;
    stage.addEventListener("pointerdown", (event) => {
      const frame = event.target.closest(".ep-frame");
      if (!frame || event.button) return;
      const box = frame.getBoundingClientRect();
      drag = { handle: event.target.closest(".ep-handle"), box, from: [event.clientX, event.clientY], view: engine.zoom, moved: false };
    });
    stage.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const by = [(event.clientX - drag.from[0]) / drag.box.width, (event.clientY - drag.from[1]) / drag.box.height];
      if (!drag.moved && Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) < 3) return;
      if (!drag.moved) stage.setPointerCapture(event.pointerId);
      drag.moved = true;
      const at = [(event.clientX - drag.box.left) / drag.box.width, (event.clientY - drag.box.top) / drag.box.height];
      if (drag.handle) this.setHandle(drag.handle, this.toPicture(at));
      else if (engine.mode === "curtain" && engine.zoom.scale === 1) engine.changeLook({ curtain: Math.max(0, Math.min(1, at[0])) });
      else if (engine.zoom.scale > 1) engine.changeZoom(clampView({ scale: drag.view.scale, x: drag.view.x - by[0] / drag.view.scale, y: drag.view.y - by[1] / drag.view.scale }));
    });
    const end = () => {
      this.dragged = drag?.moved ?? false;
      drag = null;
    };
    stage.addEventListener("pointerup", end);
    stage.addEventListener("pointercancel", end);
  }
  toPicture([px, py]) {
    const { scale, x, y } = this.engine.zoom;
    return [x + (px - 0.5) / scale, y + (py - 0.5) / scale];
  }
  toPane([fx, fy]) {
    const { scale, x, y } = this.engine.zoom;
    return [(fx - x) * scale + 0.5, (fy - y) * scale + 0.5];
  }
  setHandle(handle, point) {
    this.engine.line[handle.dataset.end] = point.map((at) => Math.max(0, Math.min(1, at)));
    for (const view of this.engine.views) view.updateLook();
  }
  /** Move an end of the measuring line by one pixel of the file, or ten with Shift; return whether the key was an arrow. */
  moveHandle(handle, event) {
    const by = PAN[event.key.toLowerCase()];
    if (!by || event.ctrlKey || event.altKey || event.metaKey) return false;
    event.preventDefault();
    event.stopPropagation();
    const far = event.shiftKey ? 10 : 1;
    const { width, height } = this.panes[0].canvas;
    const [x, y] = this.engine.line[handle.dataset.end];
    this.setHandle(handle, [x + (far * by[0]) / width, y + (far * by[1]) / height]);
    return true;
  }
  /** Show zoom, brightness, contrast and the measuring line. */
  updateLook() {
    const { zoom, look, measuring, line, model } = this.engine;
    const { style } = this.stage;
    const [left, top] = [zoom.x - 0.5 / zoom.scale, zoom.y - 0.5 / zoom.scale];
    style.setProperty("--ep-transform", zoom.scale === 1 ? "none" : `scale(${zoom.scale}) translate(${-100 * left}%, ${-100 * top}%)`);
    style.setProperty("--ep-filter", look.brightness === 1 && look.contrast === 1 ? "none" : `brightness(${look.brightness}) contrast(${look.contrast})`);
    style.setProperty("--ep-rendering", look.smooth ? "auto" : "pixelated");
    updateAttribute(this.root, "data-zoom", String(Number(zoom.scale.toFixed(2))));
    updateText(this.zoomText, `${Math.round(100 * zoom.scale)} %`);
    for (const [name, input] of this.sliders) input.value = String(look[name]);
    this.sliders[2][2].hidden = this.engine.mode !== "curtain";
    for (const toggle of this.toggles) toggle.update();
    const [a, b] = line.map((point) => this.toPane(point));
    this.panes.forEach((pane, i) => {
      pane.ruler.hidden = !measuring;
      if (!measuring) return;
      const { width, height } = pane.canvas;
      const length = Math.hypot((line[1][0] - line[0][0]) * width, (line[1][1] - line[0][1]) * height);
      const scale = model.get("micrometres_per_pixel");
      ["x1", "y1", "x2", "y2"].forEach((name, k) => pane.rule.setAttribute(name, `${100 * [...a, ...b][k]}%`));
      updateText(pane.length, `${length.toFixed(1)} px${scale ? ` = ${(length * scale).toFixed(1)} \u00b5m` : ""}`);
      Object.assign(pane.length.style, { left: `${50 * (a[0] + b[0])}%`, top: `${50 * (a[1] + b[1])}%` });
      pane.handles.forEach((handle, k) => {
        handle.hidden = i > 0;
        Object.assign(handle.style, { left: `${100 * [a, b][k][0]}%`, top: `${100 * [a, b][k][1]}%` });
      });
    });
  }

  // -- size --

  /** Fit the pictures into the width of the host, and into the height that leaves the controls in sight. */
  watchSize() {
    this.onResize = () => this.fit();
    this.sizeObserver = new ResizeObserver(this.onResize);
    this.sizeObserver.observe(this.root);
    addEventListener("resize", this.onResize);
    document.addEventListener("fullscreenchange", this.onResize);
  }
  fit() {
    if (!this.panes || !this.root.isConnected || !this.root.clientWidth) return;
    const full = document.fullscreenElement === this.root;
    if (!this.frameOfPage) { // the host is put into the page after the view is made
      this.frameOfPage = this.root.closest(".jp-WindowedPanel-outer, .jp-LinkedOutputView, .jp-MainAreaWidget");
      if (this.frameOfPage) this.sizeObserver.observe(this.frameOfPage);
    }
    const width = this.root.clientWidth - 24;
    const wide = width > 700; // this and 400 as in player.css
    const page = Math.min(innerHeight, this.frameOfPage?.clientHeight || Infinity) - 56;
    const height = full ? innerHeight : this.host.style.height ? this.host.clientHeight : page;
    let controls = this.root.offsetHeight - this.main.offsetHeight;
    if (!wide && this.side) controls += this.side.offsetHeight + 10;
    const count = this.engine.mode === "side" ? this.panes.length : 1;
    const caption = count > 1 || this.several ? (width > 400 ? 22 : 38) : 0;
    const fixed = this.several && this.engine.model.get("all_planes") && count > 1 ? this.engine.series.planes.length : null;
    const room = { width: width - (wide && this.side ? 260 : 0), height: Math.max(full ? 120 : 220, height - controls) };
    const { columns, size } = fitGrid(count, room.width, room.height, { aspect: this.aspect, caption, fixed });
    const { style } = this.stage;
    style.setProperty("--ep-columns", String(columns));
    style.setProperty("--ep-pane", `${Math.max(60, Math.floor(size))}px`);
    style.setProperty("--ep-aspect", String(this.aspect));
    const tall = (size / this.aspect + caption) * Math.ceil(count / columns) + 8 * (Math.ceil(count / columns) - 1);
    this.side?.style.setProperty("max-height", wide ? `${Math.max(160, Math.floor(tall))}px` : "none");
  }
  async toggleFullScreen() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await this.root.requestFullscreen();
    } catch {
      this.showMessage("this page does not allow full screen");
    }
    updateAttribute(this.fullButton, "aria-pressed", String(document.fullscreenElement === this.root));
  }

  // -- updates --

  /** Update the panes after the plane, the mode or the number of planes has changed; a pane that stays keeps its picture. */
  arrangePanes() {
    const { engine } = this;
    const all = engine.model.get("all_planes");
    const { panes, mode } = engine;
    const was = this.panes ?? [];
    if (was.length !== panes.length) {
      this.panes = panes.map((_, i) => this.makePane(i));
      this.stage.replaceChildren(...this.panes.map(({ figure }) => figure));
    }
    if (mode !== this.shownMode) for (const pane of this.panes) pane.key = null;
    this.shownMode = mode;
    this.root.classList.toggle("ep-all", all);
    updateAttribute(this.stage, "data-panes", String(mode === "side" ? panes.length : 1));
    updateAttribute(this.root, "data-mode", mode);
    updateAttribute(this.root, "data-align", engine.align);
    const [leftmost] = engine.series.planes;
    const title = ({ video, plane }) => {
      const { name } = engine.series.videos[video];
      if (!this.several) return plane;
      return all ? (plane === leftmost ? `${name} ${plane}` : plane) : name; // in a row of planes, the first names the embryo
    };
    this.panes.forEach((pane, i) => {
      const { video, plane } = panes[i];
      Object.assign(pane, { video, plane });
      updateText(pane.name, mode === "side" ? title(panes[i]) : panes.map(title).join(mode === "difference" ? " \u2212 " : " | "));
      pane.figure.classList.toggle("ep-current", all && mode === "side" && plane === engine.plane);
      pane.figure.hidden = mode !== "side" && i > 0;
      pane.figure.onclick = all ? () => this.dragged || engine.set({ plane }) : null;
    });
    this.updateLook();
    this.fit();
  }
  makePane(number) {
    const canvas = makeElement("canvas", { role: "img", width: "500", height: "500" });
    const note = makeElement("p", { class: "ep-note", hidden: true });
    const badge = makeElement("span", { class: "ep-badge", hidden: true });
    const name = makeElement("span", { class: "ep-name" });
    const details = makeElement("span", { class: "ep-details" });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const rule = document.createElementNS("http://www.w3.org/2000/svg", "line");
    svg.setAttribute("aria-hidden", "true");
    svg.append(rule);
    const handles = [0, 1].map((end) => makeElement("button", { type: "button", class: "ep-handle", "data-end": String(end), "aria-label": `${end ? "End" : "Start"} of the measuring line`, title: "drag, or move with the arrows", hidden: number > 0 }));
    const length = makeElement("span", { class: "ep-length" });
    const ruler = makeElement("div", { class: "ep-ruler", hidden: true }, svg, length, ...handles);
    const frame = makeElement("div", { class: "ep-frame" }, canvas, note, badge, ruler);
    const figure = makeElement("figure", { class: "ep-pane" }, frame, makeElement("figcaption", {}, name, details));
    return { figure, frame, canvas, note, badge, name, details, ruler, rule, handles, length, context: canvas.getContext("2d", { alpha: false }), key: null };
  }
  /** Show speed, loop and plane, which do not change from frame to frame. */
  updateSettings() {
    const { engine } = this;
    const { model, playing, places } = engine;
    for (const toggle of this.toggles) toggle.update();
    if (this.playButton.getAttribute("aria-label") !== (playing ? "Pause" : "Play")) {
      updateAttribute(this.playButton, "aria-label", playing ? "Pause" : "Play");
      updateAttribute(this.playButton, "title", playing ? "Pause" : "Play");
      this.playButton.replaceChildren(makeIcon(playing ? "pause" : "play"));
    }
    updateAttribute(this.reverseButton, "aria-pressed", String(playing && engine.rate < 0));
    this.planeButtons.forEach((button, i) => updateAttribute(button, "aria-pressed", String(engine.series.planes[i] === engine.plane)));
    this.speed.value = String(Math.abs(model.get("speed")));
    this.align.value = engine.align;
    this.mode.value = engine.mode;
    this.mode.hidden = engine.panes.length !== 2;
    updateText(this.rateText, `${engine.rate < 0 ? "\u2190 " : ""}${Number(Math.abs(engine.rate).toFixed(1))} frames/s`);
    const bounds = model.get("bounds");
    this.loop.hidden = bounds.length === 0;
    this.loop.classList.toggle("ep-off", !model.get("loop"));
    if (bounds.length) {
      const [from, to] = bounds.map((run) => along(places[engine.indexOfRun(run)], places[0], places.at(-1)));
      Object.assign(this.loop.style, { left: `calc(var(--ep-gutter) + var(--ep-thumb) / 2 + (100% - var(--ep-gutter) - var(--ep-thumb)) * ${from})`, width: `calc((100% - var(--ep-gutter) - var(--ep-thumb)) * ${to - from})` });
    }
    if (!playing) this.announce();
    engine.updateHeldBars();
  }
  /** Draw a thin line below the seek bar where the frames are held. */
  drawHeldBar() {
    const { engine } = this;
    const { videos } = engine.series;
    updateAttribute(this.root, "data-held", String(engine.held));
    const { width } = this.heldBar;
    const context = this.heldBar.getContext("2d");
    context.clearRect(0, 0, width, 1);
    context.fillStyle = getComputedStyle(this.heldBar).color;
    for (let x = 0; x < width; x++) {
      const index = Math.floor((x * engine.places.length) / width);
      const here = videos.filter((_, v) => engine.jpegs.has(engine.key(v, engine.plane, index)) || !engine.exists(v, engine.plane, index));
      context.globalAlpha = here.length / videos.length;
      context.fillRect(x, 0, 1, 1);
    }
  }
  /** Draw what the engine has looked up; the attributes change in the same task as the pixels. */
  draw(looks) {
    const { engine, root } = this;
    const { mode } = engine;
    if (mode !== "side") this.drawBoth(looks, mode);
    looks.forEach((look, i) => this.drawPane(this.panes[i], look, mode === "side"));
    const at = Math.max(0, engine.model.get("all_planes") ? engine.series.planes.indexOf(engine.plane) : 0);
    const pane = this.panes[at];
    const shown = looks[at];
    const [video] = engine.series.videos;
    const run = engine.runAt(0, shown.index);
    if (shown.kind !== "waiting") {
      updateAttribute(root, "data-video", video.name);
      updateAttribute(root, "data-plane", pane.plane);
      updateAttribute(root, "data-phase", phaseAt(video.phases, run)?.[0] ?? "");
      updateAttribute(root, "data-run", String(run));
    }
    updateAttribute(root, "data-exact", String(engine.exact));
    this.showPosition(engine.ticking ? shown.index : engine.index);
  }
  /** Draw a bitmap on the canvas of a pane, which takes its size. */
  fitCanvas({ canvas }, { width, height }) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (this.aspect === width / height) return;
    this.aspect = width / height;
    this.fit();
  }
  /** Combine two panes on the first canvas, with the pixels of the files. */
  drawBoth([a, b], mode) {
    const [pane] = this.panes;
    const [under, over] = [a.bitmap, b.bitmap];
    const key = `${a.key} ${b.key} ${mode} ${this.engine.look.curtain} ${this.engine.blinked}`;
    if (!(under || over) || pane.key === key || [a, b].some(({ kind }) => kind === "waiting")) return;
    this.fitCanvas(pane, under ?? over);
    const { context, canvas: { width, height } } = pane;
    const edge = Math.round(this.engine.look.curtain * width);
    context.fillRect(0, 0, width, height);
    if (under && !(mode === "blink" && this.engine.blinked)) context.drawImage(under, 0, 0, width, height);
    if (over && !(mode === "blink" && !this.engine.blinked)) {
      context.save();
      context.globalCompositeOperation = mode === "difference" ? "difference" : "source-over";
      if (mode === "curtain") {
        context.beginPath();
        context.rect(edge, 0, width - edge, height);
        context.clip();
      }
      context.drawImage(over, 0, 0, width, height);
      context.restore();
    }
    pane.key = key;
  }
  drawPane(pane, look, single) {
    const { engine } = this;
    const { figure, context, note, badge } = pane;
    const video = engine.series.videos[pane.video];
    const at = engine.axis.rows[pane.video]?.[look.index];
    const run = at?.run;
    const waiting = look.kind === "waiting";
    const wasEmpty = pane.key === null;
    if (single && look.bitmap && pane.key !== look.key) {
      this.fitCanvas(pane, look.bitmap);
      context.drawImage(look.bitmap, 0, 0);
    }
    if (!waiting) {
      if (single) pane.key = look.key;
      updateAttribute(figure, "data-pane-video", video.name);
      updateAttribute(figure, "data-pane-plane", pane.plane);
      updateAttribute(figure, "data-pane-run", String(run ?? ""));
      updateAttribute(figure, "data-where", at?.where > 0 ? "ended" : at?.where < 0 ? "before" : "within");
      updateText(pane.details, this.several && at ? this.detailsOf(video, at) : "");
    }
    const blank = { missing: `run ${run} is missing in ${pane.plane}`, broken: `run ${run} cannot be read: ${look.problem}` };
    const never = at ? `no plane ${pane.plane}` : `${video.name} cannot be aligned by ${engine.align}`;
    const text = at && pane.plane in video.runs ? (blank[look.kind] ?? "") : never;
    updateAttribute(figure, "data-state", look.kind);
    note.hidden = !text && !(waiting && wasEmpty);
    updateText(note, text || (note.hidden ? "" : "waiting for pictures"));
    const warn = look.kind === "near" ? `run ${run} is shown instead` : look.bitmap && look.problem ? `run ${run}: ${look.problem}` : "";
    badge.hidden = !warn;
    updateText(badge, warn);
  }
  /** Describe where a pane is: its own run, phase and hour, or that it has ended. */
  detailsOf(video, { run, where }) {
    if (where > 0) return `ended at run ${run}`;
    if (where < 0) return `begins at run ${run}`;
    const hour = video.hours.get(run);
    const own = this.engine.axis.align === "run" ? [] : [`run ${run}`];
    return [...own, phaseAt(video.phases, run)?.[0] ?? "unlabelled", ...(hour === undefined ? [] : [hourText(hour)])].join(" \u00b7 ");
  }
  /** Show the position of the playhead as text. */
  showPosition(index) {
    const { engine } = this;
    const { axis, places, series } = engine;
    const [video] = series.videos;
    const place = places[index];
    const run = engine.runOfIndex(index);
    const byRun = axis.align === "run";
    const phase = this.several ? null : phaseAt(video.phases, run);
    updateText(this.number, String(run));
    updateText(this.hour, byRun ? this.hourOf(video, run) : placeText(axis, place));
    updateText(this.phaseText, phase ? `${phase[0]} \u00b7 ${phase[1]}` : "unlabelled");
    const colour = phase ? PHASES[phase[0]] : "transparent";
    if (this.colour !== colour) this.phaseChip.style.background = this.colour = colour;
    if (this.seek.value !== String(place)) this.seek.value = String(place);
    this.playhead.style.transform = `translateX(${100 * along(place, places[0], places.at(-1))}%)`;
    const state = { run, last: places.at(-1), hour: video.hours.get(run), phase: phase?.[0], plane: engine.plane };
    const text = this.several ? `${byRun ? `run ${place} of ${places.at(-1)}` : placeText(axis, place)}, plane ${engine.plane}` : describe(state);
    updateAttribute(this.seek, "aria-valuetext", text);
    for (const { go, first, last } of this.phaseItems ?? []) updateAttribute(go, "aria-current", String(first <= run && run <= last));
    if (!engine.playing) this.announce(text);
  }
  /** Announce the frame to screen readers, only when paused: they cannot follow 60 frames per second. */
  announce(text = this.seek.getAttribute("aria-valuetext") ?? "") {
    clearTimeout(this.announceTimer);
    this.announceTimer = setTimeout(() => {
      updateText(this.live, text);
      this.panes.forEach(({ canvas, video, plane, details }) => {
        const own = this.several ? details.textContent : text.split(", plane")[0];
        updateAttribute(canvas, "aria-label", `${this.engine.series.videos[video].name}, plane ${plane}, ${own}`);
      });
    }, 200);
  }
  remove() {
    clearTimeout(this.announceTimer);
    clearTimeout(this.messageTimer);
    this.annotation?.remove();
    this.visibilityObserver.disconnect();
    this.sizeObserver.disconnect();
    removeEventListener("resize", this.onResize);
    document.removeEventListener("fullscreenchange", this.onResize);
    this.root.remove();
  }
}

// --- hosts ------------------------------------------------------------------------------------------------------------

/** Display an engine in `host`; return the function that removes this display. */
export function addView(engine, host) {
  const view = new View(engine, host);
  engine.views.add(view);
  clearTimeout(engine.releaseTimer);
  if (engine.released) {
    engine.released = false;
    engine.requestDelivery(engine.base64);
  }
  engine.paint();
  engine.decodeNext();
  engine.updateClock();
  engine.updateBlinking();
  return () => {
    engine.views.delete(view);
    view.remove();
    engine.updateClock();
    engine.updateBlinking();
    // JupyterLab may move a player: it removes the view and makes another one at once
    if (!engine.views.size && !engine.standalone) engine.releaseTimer = setTimeout(() => engine.disposed || engine.views.size || engine.release(), 500);
  };
}

/** anywidget calls this function once per player; all views of a player share one engine. */
export default () => {
  let engine = null;
  return {
    initialize({ model }) {
      engine = new Engine(model);
      return () => engine.dispose();
    },
    render({ el }) {
      return addView(engine, el);
    },
  };
};
