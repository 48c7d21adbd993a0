// EmbryoPlayer in the browser: one module, no build step, no dependency, no request.
//
// The kernel (or the page of `to_html`) hands over the files' own JPEG bytes; they are decoded here, shortly before they
// are shown. One Engine a player owns the clock and the caches; any number of Views draw what it says.

// --- pure helpers: no DOM, no state; tested by `node --test` ----------------------------------------------------------

// Crameri's batlow with a lightness zigzag, so that neighbours on the bar differ for every kind of sight.
export const PHASES = {
  tPB2: "#1a366c", tPNa: "#00284e", tPNf: "#285a72", t2: "#004852", t3: "#3c766f", t4: "#2f5d44", t5: "#698856", t6: "#626d29",
  t7: "#a4983d", t8: "#9e7c1e", "t9+": "#e4a651", tM: "#d3864c", tSB: "#ffb793", tB: "#e79b92", tEB: "#ffd0dc", tHB: "#e5b2d4",
};
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

/** Every number in a list of inclusive ranges [[first, last], ...]. */
export function expand(ranges) {
  return ranges.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
}

/** The place in the ascending `sorted` whose value is nearest to `x`; the lower one of two; -1 where it is empty. */
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

/** The ranges of whole numbers that lie between the ascending `runs` but are not among them. */
export function gaps(runs) {
  const found = [];
  for (let i = 1; i < runs.length; i++) {
    if (runs[i] > runs[i - 1] + 1) found.push([runs[i - 1] + 1, runs[i] - 1]);
  }
  return found;
}

/** 0 ... n-1 in an order that covers the whole from the first on: stride 32, then 16, ... then 1; each place once. */
export function coarseToFine(n, stride = 32) {
  const order = [];
  for (let s = stride; s >= 1; s /= 2) {
    for (let i = 0; i < n; i += s) if (s === stride || i % (2 * s)) order.push(i);
  }
  return order;
}

/** Hours by run from {runs: ranges, unit: units an hour, steps: base-36 digits, or numbers in brackets; relative}. */
export function readHours({ runs, unit, steps }) {
  const numbers = [...steps.matchAll(/\((-?[0-9]+)\)|(.)/g)].map(([, number, digit]) => (digit ? parseInt(digit, 36) : Number(number)));
  let sum = 0;
  return new Map(expand(runs).map((run, i) => [run, (sum += numbers[i]) / unit]));
}

/** What the kernel's description of the videos says, with lists and sets in place of ranges. */
export function readSeries(raw) {
  const lists = raw.runs.map(expand);
  const sets = lists.map((list) => new Set(list));
  const videos = raw.videos.map((video) => ({
    ...video,
    runs: Object.fromEntries(Object.entries(video.planes).map(([plane, at]) => [plane, lists[at]])),
    has: (plane, run) => plane in video.planes && sets[video.planes[plane]].has(run),
    hours: readHours(video.hours),
  }));
  return { videos, planes: raw.planes, runs: [...new Set(lists.flat())].sort((a, b) => a - b) };
}

/** The row [name, meaning, first, last] of `phases` that holds `run`, or null where it is unlabelled. */
export function phaseAt(phases, run) {
  return phases.findLast(([, , first, last]) => first <= run && run <= last) ?? null;
}

/** Where `run` lies between `first` and `last`, 0 to 1. */
export function along(run, first, last) {
  return last > first ? (run - first) / (last - first) : 0.5;
}

/** The band: [{name, first, last, left, width}] in percent; phases clipped to first...last, unlabelled stretches named "". */
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

/** The first run at or after each full 24 hours, [[hours, run], ...]: recorded runs only, nothing is interpolated. */
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

/** "62.4 h", or that no time was recorded. */
export function hourText(hour) {
  return hour === undefined ? "no time recorded" : `${hour.toFixed(1)} h`;
}

/** What a screen reader says of a place: "run 231 of 480, 62.4 h, t8, plane F15". */
export function describe({ run, last, hour, phase, plane }) {
  return `run ${run} of ${last}, ${hourText(hour)}, ${phase || "unlabelled"}, plane ${plane}`;
}

/** What was typed into "go to": {run} for "231", {hour} for "62.4 h" or "62,4h", null for anything else. */
export function parseGoto(text) {
  const hour = /^\s*([0-9]+(?:[.,][0-9]+)?)\s*(h|hpi|hours?)\s*$/i.exec(text);
  if (hour) return { hour: Number(hour[1].replace(",", ".")) };
  const run = /^\s*(?:run\s*)?([0-9]+)\s*$/i.exec(text);
  return run ? { run: Number(run[1]) } : null;
}

/** The run whose recorded time is nearest to `hour`, or null where none was recorded. */
export function runAtHour(hours, hour) {
  let best = null;
  for (const [run, at] of hours) if (best === null || Math.abs(at - hour) < Math.abs(hours.get(best) - hour)) best = run;
  return best;
}

/** Black or white, whichever reads better on `hex` (the contrast is 4.5 at least, on any colour). */
export function ink(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Frames due after `elapsed` milliseconds at `rate` a second: whole steps, and the fraction that is carried on. */
export function advance(carry, elapsed, rate) {
  const due = carry + (elapsed * rate) / 1000;
  const steps = Math.floor(due + 1e-9);
  return { steps, carry: Math.max(0, due - steps) };
}

/** `index + steps` inside low...high, around the end where `loop`; `ended` where it came to the end and stays. */
export function move(index, steps, low, high, loop) {
  const to = index + steps;
  if (to >= low && to <= high) return { index: to, ended: false };
  if (!loop) return { index: to > high ? high : low, ended: true };
  const span = high - low + 1;
  return { index: low + ((((to - low) % span) + span) % span), ended: false };
}

/** The speed one step faster in the direction `sign`: first that direction, then 2x, 4x, ... 16x. */
export function shuttle(speed, sign) {
  if (Math.sign(speed) !== sign) return sign;
  return sign * Math.min(16, Math.max(1, Math.abs(speed) * 2));
}

/** The next speed of the list, up or down, in the same direction. */
export function nextSpeed(speed, step) {
  const at = nearest(SPEEDS, Math.abs(speed)) + step;
  return Math.sign(speed) * SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at))];
}

/** What a key means, or null. Keys with Ctrl, Alt or Meta belong to the browser and to JupyterLab. */
export function keyAction({ key, shiftKey = false, ctrlKey = false, altKey = false, metaKey = false }) {
  if (ctrlKey || altKey || metaKey) return null;
  const far = shiftKey ? 10 : 1;
  const actions = {
    " ": ["toggle"], k: ["toggle"], j: ["shuttle", -1], l: ["shuttle", 1],
    arrowleft: ["step", -far], arrowright: ["step", far], ",": ["step", -1], ".": ["step", 1],
    arrowup: ["plane", 1], arrowdown: ["plane", -1], home: ["edge", -1], end: ["edge", 1],
    "[": ["phase", -1], "]": ["phase", 1], i: ["mark", 0], o: ["mark", 1], "<": ["speed", -1], ">": ["speed", 1],
    "?": ["help"], escape: ["leave"],
  };
  return actions[key.toLowerCase()] ?? null;
}

export const KEYS = [
  ["Space K", "play, pause"], ["J L", "back, forward; again: faster"], ["\u2190 \u2192 , .", "one frame"],
  ["Shift \u2190 \u2192", "ten frames"], ["\u2191 \u2193 wheel", "focal plane"], ["Home End", "first, last frame"],
  ["[ ]", "previous, next phase"], ["I O", "loop from here, to here"], ["< >", "slower, faster"], ["Esc", "leave the player"],
];

/** The parts of a buffer (ArrayBuffer or any view on one) of the given sizes, as Uint8Arrays that share its memory. */
export function slices(buffer, sizes) {
  const view = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  let at = 0;
  return sizes.map((size) => view.subarray(at, (at += size)));
}

/** The bytes that base64 text stands for. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** A map that forgets what was used longest ago once the weights add up to more than `limit`. */
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

/** Lets a value through at once, then at most one each `interval` milliseconds, and always the last one. */
export class Throttle {
  constructor(interval, send, now = () => performance.now(), wait = (f, ms) => setTimeout(f, ms)) {
    Object.assign(this, { interval, send, now, wait, last: -Infinity, timer: null });
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

// --- the engine: one a player -----------------------------------------------------------------------------------------

const JPEG_BUDGET = 256e6;
const BITMAP_BUDGET = 100e6; // 96 frames of 500 x 500; all of a video's would be more than 1 GB
const IN_FLIGHT = 4;
const WANT_AT_ONCE = 256;
const STAND_IN_AFTER = 80;
const SPARE_WHILE_PLAYING = 1500; // milliseconds; below the time after which the kernel gives up waiting

/** A picture of JPEG bytes, or null. What a truncated file still holds is shown, as every browser does in a page. */
async function decode(bytes) {
  return (await decodeDirectly(bytes)) ?? (await decodeBlob(bytes, [])) ?? (await decodeBlob(bytes, [0xff, 0xd9]));
}

/** Without the way of a blob through the browser's main process: half the time. Secure pages have it, not every browser. */
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

export class Engine {
  constructor(model) {
    this.model = model;
    this.series = readSeries(model.get("_series"));
    this.views = new Set();
    this.counts = new Map();
    this.jpegs = new Cache(JPEG_BUDGET, (f) => f.bytes.length + 64, (f) => this.count(f.group, -1));
    this.bitmaps = new Cache(BITMAP_BUDGET, (b) => b.width * b.height * 4, (b) => b.close());
    this.flying = new Set();
    this.asked = new Map();
    this.capacity = 64;
    this.tries = 0;
    this.goal = null;
    this.drawn = -Infinity;
    this.index = nearest(this.series.runs, model.get("value"));
    this.shown = this.index;
    this.exact = false;
    this.direction = 1;
    this.carry = 0.5;
    this.publisher = new Throttle(100, (run) => this.publish(run));
    this.listen();
    this.hello();
  }

  // -- what the model says --

  listen() {
    this.handlers = {
      "msg:custom": (message, buffers) => this.receive(message, buffers ?? []),
      "change:value": () => this.heard(),
      "change:playing": () => (this.playing ? this.start() : this.rest()),
      "change:plane": () => this.turn(),
      "change:all_planes": () => this.turn(),
    };
    for (const name of ["fps", "speed", "loop", "bounds", "every_frame"]) {
      this.handlers[`change:${name}`] = () => this.refresh();
    }
    for (const [name, handler] of Object.entries(this.handlers)) this.model.on(name, handler);
    this.hidden = () => this.wake();
    document.addEventListener("visibilitychange", this.hidden);
    if (this.playing) this.start();
  }

  get playing() {
    return this.model.get("playing");
  }
  get plane() {
    return this.model.get("plane");
  }
  get run() {
    return this.series.runs[this.index];
  }
  /** Frames a second, negative backwards. */
  get rate() {
    return this.model.get("fps") * this.model.get("speed");
  }
  /** What is shown beside each other: [{video, plane}], the same run of each. */
  get panes() {
    const planes = this.model.get("all_planes") ? this.series.planes : [this.plane];
    return this.series.videos.flatMap((_, video) => planes.map((plane) => ({ video, plane })));
  }
  /** First and last place of the loop, or of the whole. */
  get range() {
    const { runs } = this.series;
    const [low, high] = this.model.get("bounds").map((run) => nearest(runs, run));
    return low === undefined ? [0, runs.length - 1] : [low, high];
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }
  publish(run) {
    this.publishing = true;
    if (this.model.get("value") !== run) this.set({ value: run });
    this.publishing = false;
  }
  heard() {
    if (!this.publishing) this.seek(this.model.get("value"));
  }
  turn() {
    for (const view of this.views) view.arrange();
    this.refresh();
    this.ask();
  }
  refresh() {
    for (const view of this.views) view.settings();
    this.pump();
    this.paint();
  }

  // -- frames come in --

  key(video, plane, index) {
    return `${video}/${plane}/${this.series.runs[index]}`;
  }
  count(group, by) {
    this.counts.set(group, (this.counts.get(group) ?? 0) + by);
  }
  get held() {
    return this.series.videos.reduce((sum, _, video) => sum + (this.counts.get(`${video}/${this.plane}`) ?? 0), 0);
  }
  put(video, plane, run, bytes, fault) {
    const key = `${video}/${plane}/${run}`;
    if (this.jpegs.has(key)) return;
    const group = `${video}/${plane}`;
    this.count(group, 1);
    this.jpegs.put(key, { bytes, fault, group, broken: !bytes.length });
    this.asked.delete(key);
    this.tries = 0;
  }
  /** Says whether buffers come through, and starts the kernel's delivery anew: after a reload nothing is held. */
  hello(base64 = false) {
    this.base64 = base64;
    this.model.send({ kind: "hello", base64 });
  }
  receive(message, buffers) {
    if (message.kind === "frames") this.unpack(message, buffers);
    if (message.kind === "done") this.heal();
  }
  unpack(message, buffers) {
    const sizes = message.frames.map(([, , , size]) => size);
    const total = sizes.reduce((a, b) => a + b, 0);
    const data = message.data !== undefined ? fromBase64(message.data) : (buffers[0] ?? new Uint8Array());
    if (data.byteLength !== total) {
      if (!this.base64) this.hello(true); // the host has dropped the binary buffers
      return;
    }
    const parts = slices(data, sizes);
    message.frames.forEach(([video, plane, run, , fault], i) => this.put(video, plane, run, parts[i], fault));
    const ack = () => this.disposed || this.model.send({ kind: "ack", seq: message.seq });
    if (!message.spare || this.model.get("all_planes")) ack();
    else if (this.ticking) setTimeout(ack, SPARE_WHILE_PLAYING); // what is not looked at waits for what is
    else if (globalThis.requestIdleCallback) requestIdleCallback(ack, { timeout: 300 });
    else ack();
    if (!this.exact || message.frames.some(([, plane]) => plane === this.plane)) this.arrived();
  }
  arrived() {
    if (!this.exact) this.paint();
    this.pump();
    this.fill();
  }
  /** Shows which frames are held, once for all that came since the last picture of the display. */
  fill() {
    this.filling ??= requestAnimationFrame(() => {
      this.filling = null;
      for (const view of this.views) view.filled();
    });
  }

  // -- frames are asked for: what is needed now, and after the push what did not arrive --

  lacking(keys) {
    const now = performance.now();
    return keys.filter(([key]) => !this.jpegs.has(key) && !(now - this.asked.get(key) < 1000));
  }
  ask() {
    this.asking ??= setTimeout(() => {
      this.asking = null;
      this.want(this.lacking(this.wishes().filter(([, video, plane, run]) => this.series.videos[video].has(plane, run))));
    }, 40);
  }
  want(items) {
    const now = performance.now();
    const chosen = items.slice(0, WANT_AT_ONCE);
    for (const [key] of chosen) this.asked.set(key, now);
    if (chosen.length) this.model.send({ kind: "want", items: chosen.map(([, video, plane, run]) => [video, plane, run]) });
  }
  heal() {
    const { videos, planes, runs } = this.series;
    if (this.jpegs.weight > 0.8 * JPEG_BUDGET) return;
    const order = coarseToFine(runs.length);
    const lost = [this.plane, ...planes.filter((plane) => plane !== this.plane)].flatMap((plane) =>
      order.flatMap((i) =>
        videos.flatMap((video, v) => (video.has(plane, runs[i]) ? [[this.key(v, plane, i), v, plane, runs[i]]] : [])),
      ),
    );
    const open = lost.filter(([key]) => !this.jpegs.has(key));
    this.want(this.lacking(open));
    clearTimeout(this.again);
    if (open.length && this.tries++ < 20) this.again = setTimeout(() => this.heal(), 1100);
  }

  // -- pictures are made: at most four at a time, the most needed first; what is no longer needed is never begun --

  /** Places ahead of the playhead, nearest first. */
  ahead(count) {
    const [low, high] = this.range;
    const stride = Math.max(1, Math.round(Math.abs(this.rate) / 60)) * (this.rate < 0 ? -1 : 1);
    const loop = this.model.get("loop");
    return Array.from({ length: count }, (_, k) => move(this.index, (k + 1) * stride, low, high, loop).index);
  }
  /** The frames that are needed now and next, most urgent first: [[key, video, plane, run], ...]. */
  wishes() {
    const { panes } = this;
    const last = this.series.runs.length - 1;
    const room = Math.min(32, Math.floor(this.capacity / panes.length) - 1);
    const near = [1, -1, 2, -2].map((k) => Math.max(0, Math.min(last, this.index + k)));
    const places = this.ticking ? [...this.aim(), this.index, ...this.ahead(room)] : [this.index, ...near];
    const wishes = places.flatMap((index) => panes.map((pane) => this.wish(pane, index)));
    if (!this.ticking) wishes.push(...this.turns());
    return wishes.slice(0, Math.max(this.capacity, panes.length));
  }
  wish({ video, plane }, index) {
    return [this.key(video, plane, index), video, plane, this.series.runs[index]];
  }
  /** The same frame in the other planes, the next ones first: whoever rests at a frame may focus through it. */
  turns() {
    const { planes, videos } = this.series;
    if (this.model.get("all_planes")) return [];
    const at = planes.indexOf(this.plane);
    const others = planes.map((plane, i) => [Math.abs(i - at), plane]).filter(([far]) => far > 0).sort(([a], [b]) => a - b);
    return others.flatMap(([, plane]) => videos.map((_, video) => this.wish({ video, plane }, this.index)));
  }
  /** The place that is made ready first. It is kept until it is, else a slow machine would begin much and end nothing. */
  aim() {
    const behind = (this.index - this.goal) * this.direction;
    if (this.goal !== null && (this.ready(this.goal) || behind < 0 || behind > 64)) this.goal = null;
    if (this.goal === null && !this.ready(this.index) && this.within(this.index)) this.goal = this.index;
    return this.goal === null ? [] : [this.goal];
  }
  /** Whether all that is needed to show a place is held. */
  within(index) {
    const run = this.series.runs[index];
    return this.panes.every(({ video, plane }) => this.jpegs.has(this.key(video, plane, index)) || !this.series.videos[video].has(plane, run));
  }
  pump() {
    if (this.disposed || this.flying.size >= IN_FLIGHT) return;
    const wishes = this.wishes();
    if (!this.ticking && !this.exact) wishes.splice(this.panes.length, 0, ...this.standIns());
    // at rest what is only perhaps needed leaves room for what will be
    const most = this.ticking || !this.exact ? IN_FLIGHT : 1;
    for (const [key] of wishes) {
      if (this.flying.size >= most) return;
      const jpeg = this.jpegs.map.get(key);
      if (jpeg && !jpeg.broken && !this.bitmaps.has(key) && !this.flying.has(key)) this.develop(key, jpeg);
    }
  }
  async develop(key, jpeg) {
    this.flying.add(key);
    const bitmap = await decode(jpeg.bytes);
    this.flying.delete(key);
    if (this.disposed) return bitmap?.close();
    if (bitmap) this.keep(key, bitmap);
    else jpeg.broken = true;
    if (!this.exact) this.paint();
    this.pump();
  }
  keep(key, bitmap) {
    const weight = bitmap.width * bitmap.height * 4;
    this.bitmaps.limit = Math.max(BITMAP_BUDGET, 2 * this.panes.length * weight);
    this.capacity = Math.floor((0.8 * this.bitmaps.limit) / weight);
    this.bitmaps.put(key, bitmap);
  }
  /** For each pane that lacks its own frame: the nearest one that is held. */
  standIns() {
    return this.panes.flatMap(({ video, plane }) => {
      const run = this.series.runs[this.index];
      if (this.jpegs.has(this.key(video, plane, this.index)) || !this.series.videos[video].has(plane, run)) return [];
      const index = this.around((i) => this.jpegs.has(this.key(video, plane, i)) && !this.jpegs.map.get(this.key(video, plane, i)).broken);
      return index < 0 ? [] : [[this.key(video, plane, index), video, plane, this.series.runs[index]]];
    });
  }
  /** The place nearest to the playhead for which `good(place)`; -1 where there is none. */
  around(good) {
    const n = this.series.runs.length;
    for (let d = 0; d < n; d++) {
      if (this.index - d >= 0 && good(this.index - d)) return this.index - d;
      if (this.index + d < n && good(this.index + d)) return this.index + d;
    }
    return -1;
  }

  // -- pictures are shown --

  /** What there is of a pane at a place: {kind: exact | missing | broken | waiting, bitmap, fault}. */
  look({ video, plane }, index) {
    const key = this.key(video, plane, index);
    if (!this.series.videos[video].has(plane, this.series.runs[index])) return { kind: "missing", index, key };
    const jpeg = this.jpegs.map.get(key);
    if (jpeg?.broken) return { kind: "broken", index, key, fault: jpeg.fault || "cannot be decoded" };
    const bitmap = this.bitmaps.get(key);
    return bitmap ? { kind: "exact", index, key, bitmap, fault: jpeg?.fault } : { kind: "waiting", index, key };
  }
  ready(index) {
    return this.panes.every((pane) => this.look(pane, index).kind !== "waiting");
  }
  /** While playing all panes show one run: the latest one up to the playhead that is ready in all of them. */
  latest() {
    const back = this.direction;
    for (let i = this.index, n = 0; i !== this.shown && n < 64; i -= back, n++) {
      if (i < 0 || i >= this.series.runs.length) break;
      if (this.ready(i)) return i;
    }
    return this.ready(this.index) ? this.index : this.shown;
  }
  paint() {
    if (this.disposed) return;
    const at = this.ticking ? this.latest() : this.index;
    // a picture is decoded in a few milliseconds: to draw a neighbour meanwhile would only delay it
    const soon = performance.now() - this.drawn < STAND_IN_AFTER;
    const looks = this.panes.map((pane) => {
      const look = this.look(pane, at);
      if (look.kind !== "waiting" || this.ticking || (soon && this.jpegs.has(look.key))) return look;
      const near = this.around((i) => this.bitmaps.has(this.key(pane.video, pane.plane, i)));
      return near < 0 ? look : { ...this.look(pane, near), kind: "near" };
    });
    this.shown = at;
    this.exact = at === this.index && looks.every(({ kind }) => kind !== "waiting" && kind !== "near");
    if (soon && !this.exact && !this.ticking) this.later ??= setTimeout(() => this.patience(), STAND_IN_AFTER);
    else this.drawn = performance.now();
    for (const view of this.views) view.draw(looks);
  }
  patience() {
    this.later = null;
    if (!this.exact) this.paint();
  }

  // -- the clock --

  /** Goes to the run nearest to `run`; the latest call wins. */
  seek(run) {
    this.to(nearest(this.series.runs, run));
  }
  to(index) {
    this.index = index;
    this.exact = false;
    if (this.ticking) {
      this.shown = index;
      this.carry = 0;
    }
    this.paint();
    this.pump();
    if (!this.exact) this.ask();
    this.publisher.offer(this.run); // last: the picture does not wait for what the kernel is told
  }
  step(by) {
    this.set({ playing: false });
    this.to(move(this.index, by, 0, this.series.runs.length - 1, false).index);
  }
  toggle() {
    this.set({ playing: !this.playing });
  }
  start() {
    const [low, high] = this.range;
    const end = this.rate < 0 ? low : high;
    if (this.index === end || this.index < low || this.index > high) this.index = this.rate < 0 ? high : low;
    this.carry = 0.5; // half a frame from either side, so that a jitter of the display does not skip or repeat
    this.wake();
    for (const view of this.views) view.settings();
  }
  get visible() {
    return !document.hidden && [...this.views].some((view) => view.visible);
  }
  /** Runs the clock while it plays and someone looks. */
  wake() {
    const run = this.playing && this.visible && !this.disposed;
    if (run && !this.ticking) {
      this.before = null;
      this.ticking = requestAnimationFrame((now) => this.tick(now));
    } else if (!run && this.ticking) {
      cancelAnimationFrame(this.ticking);
      this.ticking = null;
    }
  }
  tick(now) {
    this.ticking = requestAnimationFrame((next) => this.tick(next));
    const elapsed = this.before === null ? 0 : Math.min(250, now - this.before);
    this.before = now;
    this.direction = this.rate < 0 ? -1 : 1;
    let { steps, carry } = advance(this.carry, elapsed, Math.abs(this.rate));
    if (this.model.get("every_frame") && steps > 0) {
      const done = this.shown === this.index && this.exact;
      carry = done ? Math.min(carry, 0.5) : 1;
      steps = done ? 1 : 0;
    }
    this.carry = carry;
    if (steps) this.run_on(steps);
    else if (!this.exact) this.paint();
    this.pump();
  }
  run_on(steps) {
    const [low, high] = this.range;
    const from = this.index;
    const { index, ended } = move(from, steps * this.direction, low, high, this.model.get("loop"));
    this.index = index;
    if ((index - from) * this.direction < 0) this.shown = from; // around the end
    this.exact = false;
    this.paint();
    this.publisher.offer(this.run);
    if (!this.exact) this.ask();
    if (ended) this.set({ playing: false });
  }
  rest() {
    this.wake();
    this.exact = false;
    this.paint();
    this.pump();
    if (!this.exact) this.ask();
    this.publisher.offer(this.run);
    this.publisher.flush();
    for (const view of this.views) view.settings();
  }

  // -- what keys and buttons do --

  act([name, by]) {
    const { planes, runs, videos } = this.series;
    const acts = {
      toggle: () => this.toggle(),
      shuttle: () => this.set({ speed: this.playing ? shuttle(this.model.get("speed"), by) : by, playing: true }),
      step: () => this.step(by),
      plane: () => this.set({ plane: planes[Math.max(0, Math.min(planes.length - 1, planes.indexOf(this.plane) + by))] }),
      edge: () => this.to(by < 0 ? 0 : runs.length - 1),
      speed: () => this.set({ speed: nextSpeed(this.model.get("speed"), by) }),
      phase: () => {
        const firsts = videos[0].phases.map(([, , first]) => first).sort((a, b) => a - b);
        const next = by > 0 ? firsts.find((first) => first > this.run) : firsts.findLast((first) => first < this.run);
        this.seek(next ?? (by > 0 ? runs.at(-1) : runs[0]));
      },
      mark: () => {
        const [low, high] = this.range.map((index) => runs[index]);
        const bounds = by ? [Math.min(low, this.run), this.run] : [this.run, Math.max(high, this.run)];
        this.set({ bounds, loop: true });
      },
    };
    acts[name]?.();
  }

  /** What the caches hold, for tests and for the curious. */
  stats() {
    const { jpegs, bitmaps, flying } = this;
    return { jpegs: jpegs.size, jpegBytes: jpegs.weight, bitmaps: bitmaps.size, bitmapBytes: bitmaps.weight, flying: flying.size };
  }
  /** A copy of the bytes that are held of a frame, or null. */
  bytes(video, plane, run) {
    const jpeg = this.jpegs.map.get(`${video}/${plane}/${run}`);
    return jpeg ? jpeg.bytes.slice() : null;
  }
  dispose() {
    this.disposed = true;
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    document.removeEventListener("visibilitychange", this.hidden);
    this.wake();
    clearTimeout(this.asking);
    clearTimeout(this.again);
    clearTimeout(this.later);
    this.publisher.stop();
    this.jpegs.clear();
    this.bitmaps.clear();
  }
}

// --- the view: what one display of a player shows ---------------------------------------------------------------------

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z", previous: "M11 3v10L4 8zM11.5 3h2v10h-2z", play: "M4 2.5v11L13.5 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z", next: "M5 3v10l7-5zM2.5 3h2v10h-2z", last: "M11 3h2v10h-2zM3 3v10l7-5z",
  back: "M12 2.5v11L2.5 8z",
};

/** An element: tag, attributes (class, text, on*: as said), children. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
/** Writes only what has changed: sixty times a second this is most of the work saved. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}
function chip(name) {
  const node = make("span", { class: "ep-chip", "aria-hidden": "true" });
  node.style.background = PHASES[name] ?? "transparent";
  return node;
}

export class View {
  constructor(engine, host) {
    this.engine = engine;
    this.visible = true;
    const { videos } = engine.series;
    this.many = videos.length > 1;
    this.root = make("div", {
      class: "embryo-player", tabindex: "0", role: "group", "data-lm-suppress-shortcuts": "true",
      "aria-label": `Embryo time-lapse ${videos.map((video) => video.name).join(", ")}`,
    });
    this.root.embryo = { stats: () => engine.stats(), bytes: (...frame) => engine.bytes(...frame) };
    this.stage = make("div", { class: "ep-panes" });
    this.root.classList.toggle("ep-many", this.many);
    const main = make("div", { class: "ep-main" }, this.stage, ...(this.many ? [] : [this.facts()]));
    this.root.append(main, this.timeline(), this.transport(), this.settingsRow(), this.help());
    host.append(this.root);
    this.attend();
    this.arrange();
    this.settings();
    this.filled();
  }

  // -- parts --

  button(label, name, act) {
    const node = make("button", { type: "button", class: "ep-button", "aria-label": label, title: label, onclick: act });
    node.append(icon(name));
    return node;
  }
  toggle(text, label, trait) {
    const { engine } = this;
    const flip = () => engine.set({ [trait]: !engine.model.get(trait) });
    const node = make("button", { type: "button", class: "ep-toggle", title: label, "aria-pressed": "false", text, onclick: flip });
    node.settle = () => mark(node, "aria-pressed", String(engine.model.get(trait)));
    (this.toggles ??= []).push(node);
    return node;
  }
  /** The side: what the video is, and its phases as a list to jump by. */
  facts() {
    const [video] = this.engine.series.videos;
    this.phaseItems = video.phases.map(([name, meaning, first, last]) => {
      const hour = video.hours.get(first);
      const go = make(
        "button",
        { type: "button", class: "ep-phase", onclick: () => this.engine.seek(first), title: `${name}, ${meaning}: runs ${first} to ${last}` },
        chip(name),
        make("b", { text: name }),
        make("span", { class: "ep-meaning", text: meaning }),
        make("span", { class: "ep-at", text: hour === undefined ? `run ${first}` : `${hour.toFixed(1)} h` }),
      );
      return { go, first, last };
    });
    const grade = video.grade ? `TE ${video.grade[0]} \u00b7 ICM ${video.grade[1]}` : "not graded";
    return make(
      "div",
      { class: "ep-side" },
      make("div", { class: "ep-title" }, make("strong", { text: video.name }), make("span", { class: "ep-quiet", text: grade })),
      this.phaseItems.length
        ? make("ol", { class: "ep-phases", "aria-label": "Phases" }, ...this.phaseItems.map(({ go }) => make("li", {}, go)))
        : make("p", { class: "ep-fault ep-quiet", text: video.faults.length ? "without phases:" : "no annotation" }),
      ...video.faults.map((text) => make("p", { class: "ep-fault ep-quiet", text })),
    );
  }
  timeline() {
    const { engine } = this;
    const { runs, videos } = engine.series;
    const [first, last] = [runs[0], runs.at(-1)];
    const bands = videos.map((video) => this.band(video, first, last));
    this.fill = make("canvas", { class: "ep-fill", width: Math.max(1, Math.min(2000, runs.length)), height: "1", "aria-hidden": "true" });
    this.loop = make("div", { class: "ep-loop", hidden: true });
    this.seek = make("input", {
      type: "range", class: "ep-seek", "aria-label": "Seek", min: first, max: Math.max(last, first + 1), step: "1", value: first,
      oninput: () => engine.seek(Number(this.seek.value)), onchange: () => engine.seek(Number(this.seek.value)),
    });
    const ticks = days(videos[0].hours).map(([hour, run]) => {
      const tick = make("span", { class: "ep-tick", text: `${hour} h`, title: `the first run at ${hour} h or later: ${run}` });
      tick.style.left = `${100 * along(run, first, last)}%`;
      return tick;
    });
    return make("div", { class: "ep-timeline" }, ...bands, this.loop, this.seek, this.fill, make("div", { class: "ep-ticks" }, ...ticks));
  }
  band(video, first, last) {
    const parts = segments(video.phases, first, last).map(({ name, first: from, last: to, left, width }) => {
      const node = make("span", { class: name ? "ep-part" : "ep-part ep-bare", title: `${name || "unlabelled"}: runs ${from} to ${to}` });
      Object.assign(node.style, { left: `${left}%`, width: `${width}%` });
      if (name) Object.assign(node.style, { background: PHASES[name], color: ink(PHASES[name]) });
      node.append(make("span", { text: name }));
      return node;
    });
    const holes = gaps(Object.values(video.runs).reduce((a, b) => (b.length > a.length ? b : a), [])).map(([from, to]) => {
      const node = make("span", { class: "ep-gap", title: from === to ? `run ${from} is missing` : `runs ${from} to ${to} are missing` });
      Object.assign(node.style, { left: `${100 * along(from - 0.5, first, last)}%`, width: `${(100 * (to - from + 1)) / Math.max(1, last - first)}%` });
      return node;
    });
    return make("div", { class: "ep-band", "aria-hidden": "true" }, ...parts, ...holes);
  }
  transport() {
    const { engine } = this;
    const act = (...action) => () => engine.act(action);
    this.playButton = this.button("Play", "play", act("toggle"));
    this.playButton.classList.add("ep-play");
    this.number = make("b", { class: "ep-run" });
    this.number.style.minWidth = `${String(engine.series.runs.at(-1)).length}ch`;
    this.hour = make("span", { class: "ep-hour" });
    this.phaseChip = chip("");
    this.phaseText = make("span", { class: "ep-phase-now" });
    this.live = make("span", { class: "ep-unseen", role: "status" });
    const goto = make("input", {
      type: "text", class: "ep-goto", placeholder: "run or 62.4 h", "aria-label": "Go to run or hour", size: "12",
      onkeydown: (event) => event.key === "Enter" && this.goTo(goto),
      onchange: () => this.goTo(goto),
    });
    return make(
      "div",
      { class: "ep-row ep-transport" },
      make(
        "div",
        { class: "ep-buttons" },
        this.button("First frame", "first", act("edge", -1)),
        this.button("Reverse", "back", act("shuttle", -1)),
        this.button("Previous frame", "previous", act("step", -1)),
        this.playButton,
        this.button("Next frame", "next", act("step", 1)),
        this.button("Last frame", "last", act("edge", 1)),
      ),
      make(
        "div",
        { class: "ep-now" },
        make("span", { class: "ep-count" }, make("span", { class: "ep-quiet", text: "run " }), this.number,
          make("span", { class: "ep-quiet", text: ` of ${engine.series.runs.at(-1)}` })),
        this.hour,
        make("span", { class: "ep-phase-box" }, this.phaseChip, this.phaseText),
      ),
      this.live,
      goto,
    );
  }
  goTo(input) {
    const { videos } = this.engine.series;
    const asked = parseGoto(input.value);
    const run = asked?.hour === undefined ? asked?.run : runAtHour(videos[0].hours, asked.hour);
    input.classList.toggle("ep-wrong", input.value !== "" && (run === undefined || run === null));
    if (run === undefined || run === null) return;
    input.value = "";
    this.engine.seek(run);
  }
  settingsRow() {
    const { engine } = this;
    const { planes } = engine.series;
    this.planeButtons = planes.map((plane) => {
      const pick = () => engine.set({ plane });
      return make("button", { type: "button", class: "ep-plane", text: plane, title: `focal plane ${plane}`, "aria-pressed": "false", onclick: pick });
    });
    const pickSpeed = () => engine.set({ speed: Number(this.speed.value) * (Math.sign(engine.model.get("speed")) || 1) });
    const options = SPEEDS.map((speed) => make("option", { value: speed, text: `${speed}\u00d7` }));
    this.speed = make("select", { class: "ep-speed", "aria-label": "Speed", title: "speed", onchange: pickSpeed }, ...options);
    this.rateText = make("span", { class: "ep-quiet ep-rate" });
    const toggles = [this.toggle("loop", "begin again at the end", "loop")];
    toggles.push(this.toggle("every frame", "rather slower than skip a frame", "every_frame"));
    if (planes.length > 1) toggles.push(this.toggle("all planes", "all focal planes beside each other", "all_planes"));
    this.helpButton = make("button", { type: "button", class: "ep-toggle", text: "?", "aria-label": "Help", title: "keys", "aria-expanded": "false", onclick: () => this.flipHelp() });
    return make(
      "div",
      { class: "ep-row ep-settings" },
      make("div", { class: "ep-planes", role: "group", "aria-label": "Focal plane" }, ...this.planeButtons),
      make("div", { class: "ep-pace" }, this.speed, this.rateText),
      make("div", { class: "ep-toggles" }, ...toggles, this.helpButton),
    );
  }
  help() {
    const rows = KEYS.flatMap(([keys, what]) => [make("dt", {}, ...keys.split(" ").map((key) => make("kbd", { text: key }))), make("dd", { text: what })]);
    this.helpBox = make("dl", { class: "ep-help", hidden: true }, ...rows);
    return this.helpBox;
  }
  flipHelp(open = this.helpBox.hidden) {
    this.helpBox.hidden = !open;
    mark(this.helpButton, "aria-expanded", String(open));
  }

  // -- focus, keys, wheel --

  attend() {
    const { root, engine } = this;
    root.addEventListener("keydown", (event) => this.keyed(event));
    root.addEventListener("focusin", ({ relatedTarget }) => {
      if (relatedTarget && !root.contains(relatedTarget)) this.cameFrom = relatedTarget;
    });
    let turned = 0;
    const turn = (event) => {
      if (!root.contains(document.activeElement) || event.ctrlKey) return;
      event.preventDefault();
      turned += event.deltaY;
      if (Math.abs(turned) < 40) return;
      engine.act(["plane", turned < 0 ? 1 : -1]);
      turned = 0;
    };
    this.stage.addEventListener("wheel", turn, { passive: false });
    this.watcher = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      engine.wake();
    });
    this.watcher.observe(root);
  }
  keyed(event) {
    const { target } = event;
    const typing = target.matches("input[type=text], select");
    const action = keyAction(event);
    if (!action || (typing && action[0] !== "leave") || (event.key === " " && target.matches("button"))) return;
    event.preventDefault();
    event.stopPropagation();
    if (action[0] === "leave") this.leave();
    else if (action[0] === "help") this.flipHelp();
    else this.engine.act(action);
  }
  /** Gives the focus back to where it was, or to the notebook's cell around the player. */
  leave() {
    if (!this.helpBox.hidden) return this.flipHelp(false);
    const cell = this.root.closest(".jp-Cell, .jp-Notebook");
    const back = this.cameFrom?.isConnected ? this.cameFrom : cell;
    document.activeElement.blur();
    back?.focus({ preventScroll: true });
  }

  // -- what changes --

  /** The panes anew, for another plane or number of planes; a pane that stays keeps its picture. */
  arrange() {
    const { engine } = this;
    const all = engine.model.get("all_planes");
    const { panes } = engine;
    const was = this.panes ?? [];
    if (was.length !== panes.length) {
      this.panes = panes.map(() => this.pane());
      this.stage.replaceChildren(...this.panes.map(({ figure }) => figure));
    }
    const per = panes.length / engine.series.videos.length;
    this.root.classList.toggle("ep-all", all);
    mark(this.stage, "data-panes", String(panes.length));
    this.stage.style.setProperty("--ep-columns", String(panes.length === 1 ? 1 : all && !this.many ? Math.ceil(per / 2) : Math.min(4, panes.length)));
    this.panes.forEach((pane, i) => {
      const { video, plane } = panes[i];
      Object.assign(pane, { video, plane });
      say(pane.name, this.many ? (all ? `${engine.series.videos[video].name} ${plane}` : engine.series.videos[video].name) : plane);
      pane.figure.classList.toggle("ep-current", all && plane === engine.plane);
      pane.figure.onclick = all ? () => engine.set({ plane }) : null;
    });
  }
  pane() {
    const canvas = make("canvas", { role: "img", width: "500", height: "500" });
    const note = make("p", { class: "ep-note", hidden: true });
    const badge = make("span", { class: "ep-badge", hidden: true });
    const name = make("span", { class: "ep-name" });
    const told = make("span", { class: "ep-told" });
    const figure = make("figure", { class: "ep-pane" }, make("div", { class: "ep-frame" }, canvas, note, badge), make("figcaption", {}, name, told));
    return { figure, canvas, note, badge, name, told, context: canvas.getContext("2d", { alpha: false }), key: null };
  }
  /** Speed, loop, plane: what stays while frames go by. */
  settings() {
    const { engine } = this;
    const { model } = engine;
    const { playing } = engine;
    for (const toggle of this.toggles) toggle.settle();
    if (this.playButton.getAttribute("aria-label") !== (playing ? "Pause" : "Play")) {
      mark(this.playButton, "aria-label", playing ? "Pause" : "Play");
      mark(this.playButton, "title", playing ? "Pause" : "Play");
      this.playButton.replaceChildren(icon(playing ? "pause" : "play"));
    }
    this.planeButtons.forEach((button, i) => mark(button, "aria-pressed", String(engine.series.planes[i] === engine.plane)));
    this.speed.value = String(Math.abs(model.get("speed")));
    say(this.rateText, `${engine.rate < 0 ? "\u2190 " : ""}${Number(Math.abs(engine.rate).toFixed(1))} frames/s`);
    const bounds = model.get("bounds");
    this.loop.hidden = bounds.length === 0;
    if (bounds.length) {
      const { runs } = engine.series;
      const [from, to] = bounds.map((run) => along(run, runs[0], runs.at(-1)));
      Object.assign(this.loop.style, { left: `calc(var(--ep-thumb) / 2 + (100% - var(--ep-thumb)) * ${from})`, width: `calc((100% - var(--ep-thumb)) * ${to - from})` });
    }
    if (!playing) this.announce();
    engine.fill();
  }
  /** Which frames are here: a thin line below the seek bar. */
  filled() {
    const { engine } = this;
    const { runs, videos } = engine.series;
    mark(this.root, "data-held", String(engine.held));
    const { width } = this.fill;
    const context = this.fill.getContext("2d");
    context.clearRect(0, 0, width, 1);
    context.fillStyle = getComputedStyle(this.fill).color;
    for (let x = 0; x < width; x++) {
      const index = Math.floor((x * runs.length) / width);
      const here = videos.filter((video, v) => engine.jpegs.has(engine.key(v, engine.plane, index)) || !video.has(engine.plane, runs[index]));
      context.globalAlpha = here.length / videos.length;
      context.fillRect(x, 0, 1, 1);
    }
  }
  /** Draws what the engine found; the attributes change in the same task as the pixels. */
  draw(looks) {
    looks.forEach((look, i) => this.drawPane(this.panes[i], look));
    const { engine, root } = this;
    const at = Math.max(0, engine.model.get("all_planes") ? engine.series.planes.indexOf(engine.plane) : 0);
    const pane = this.panes[at];
    const shown = looks[at];
    const run = engine.series.runs[shown.index];
    const [video] = engine.series.videos;
    const phase = phaseAt(video.phases, run);
    if (shown.kind !== "waiting") {
      mark(root, "data-video", video.name);
      mark(root, "data-plane", pane.plane);
      mark(root, "data-phase", phase?.[0] ?? "");
      mark(root, "data-run", String(run));
    }
    mark(root, "data-exact", String(engine.exact));
    this.tell(engine.ticking ? run : engine.run);
  }
  drawPane(pane, look) {
    const { engine } = this;
    const { figure, canvas, context, note, badge } = pane;
    const run = engine.series.runs[look.index];
    const video = engine.series.videos[pane.video];
    if (look.bitmap && pane.key !== look.key) {
      if (canvas.width !== look.bitmap.width || canvas.height !== look.bitmap.height) {
        Object.assign(canvas, { width: look.bitmap.width, height: look.bitmap.height });
      }
      context.drawImage(look.bitmap, 0, 0);
    }
    if (look.kind !== "waiting") {
      pane.key = look.key;
      mark(figure, "data-video", video.name);
      mark(figure, "data-plane", pane.plane);
      mark(figure, "data-run", String(run));
      const phase = this.many ? phaseAt(video.phases, run)?.[0] ?? "unlabelled" : "";
      const hour = this.many ? video.hours.get(run) : undefined;
      say(pane.told, [phase, hour === undefined ? "" : hourText(hour)].filter(Boolean).join(" \u00b7 "));
    }
    const blank = { missing: `run ${run} is missing in ${pane.plane}`, broken: `run ${run} is not readable: ${look.fault}` };
    const text = pane.plane in video.runs ? (blank[look.kind] ?? "") : `no plane ${pane.plane}`;
    mark(figure, "data-state", look.kind);
    note.hidden = !text && !(look.kind === "waiting" && pane.key === null);
    say(note, text || (note.hidden ? "" : "waiting for the kernel"));
    const warn = look.kind === "near" ? `run ${run} stands in` : look.bitmap && look.fault ? `run ${run}: ${look.fault}` : "";
    badge.hidden = !warn;
    say(badge, warn);
  }
  /** Where the playhead is, in text. */
  tell(run) {
    const { engine } = this;
    const [video] = engine.series.videos;
    const phase = phaseAt(video.phases, run);
    const hour = video.hours.get(run);
    say(this.number, String(run));
    say(this.hour, hourText(hour));
    say(this.phaseText, phase ? `${phase[0]} \u00b7 ${phase[1]}` : "unlabelled");
    const colour = phase ? PHASES[phase[0]] : "transparent";
    if (this.colour !== colour) this.phaseChip.style.background = this.colour = colour;
    if (this.seek.value !== String(run)) this.seek.value = String(run);
    const state = { run, last: engine.series.runs.at(-1), hour, phase: phase?.[0], plane: engine.plane };
    mark(this.seek, "aria-valuetext", describe(state));
    for (const { go, first, last } of this.phaseItems ?? []) mark(go, "aria-current", String(first <= run && run <= last));
    if (!engine.playing) this.announce(describe(state));
  }
  /** For screen readers, at rest only: a running commentary at 60 frames a second helps nobody. */
  announce(text = this.seek.getAttribute("aria-valuetext") ?? "") {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      say(this.live, text);
      this.panes.forEach(({ canvas, video, plane }) => {
        mark(canvas, "aria-label", `${this.engine.series.videos[video].name}, plane ${plane}, ${text.split(", plane")[0]}`);
      });
    }, 200);
  }
  remove() {
    clearTimeout(this.later);
    this.watcher.disconnect();
    this.root.remove();
  }
}

// --- hosts ------------------------------------------------------------------------------------------------------------

/** A model without a kernel, for pages that `to_html` writes. */
export class LocalModel {
  constructor(state) {
    Object.assign(this, { state, handlers: {} });
  }
  get(name) {
    return this.state[name];
  }
  set(name, value) {
    if (JSON.stringify(this.state[name]) === JSON.stringify(value)) return;
    this.state[name] = value;
    for (const handler of [...(this.handlers[`change:${name}`] ?? [])]) handler();
  }
  on(name, handler) {
    (this.handlers[name] ??= []).push(handler);
  }
  off(name, handler) {
    this.handlers[name] = (this.handlers[name] ?? []).filter((other) => other !== handler);
  }
  save_changes() {}
  send() {}
}

/** One display more of an engine; returns what takes it away again. */
export function show(engine, host) {
  const view = new View(engine, host);
  engine.views.add(view);
  engine.paint();
  engine.pump();
  engine.wake();
  return () => {
    engine.views.delete(view);
    view.remove();
    engine.wake();
  };
}

/** Plays the frames in `boxes`, elements that hold JSON [[video, plane, run, fault, base64], ...], without a kernel. */
export async function standalone(host, state, boxes) {
  const engine = new Engine(new LocalModel(state));
  show(engine, host);
  for (const box of boxes) {
    for (const [video, plane, run, fault, data] of JSON.parse(box.textContent)) engine.put(video, plane, run, fromBase64(data), fault);
    box.remove();
    engine.arrived();
    await new Promise((resume) => setTimeout(resume));
  }
  return engine;
}

/** anywidget calls this once for each player: its views share one engine. */
export default () => {
  let engine = null;
  return {
    initialize({ model }) {
      engine = new Engine(model);
      return () => engine.dispose();
    },
    render({ el }) {
      return show(engine, el);
    },
  };
};
