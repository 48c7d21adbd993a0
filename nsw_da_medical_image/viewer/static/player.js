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
  return { videos, planes: raw.planes, runs: [...new Set(lists.flat())].sort((a, b) => a - b) };
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

/** Return "62.4 h", or "no time recorded". */
export function hourText(hour) {
  return hour === undefined ? "no time recorded" : `${hour.toFixed(1)} h`;
}

/** Describe a frame for a screen reader: "run 231 of 480, 62.4 h, t8, plane F15". */
export function describe({ run, last, hour, phase, plane }) {
  return `run ${run} of ${last}, ${hourText(hour)}, ${phase || "unlabelled"}, plane ${plane}`;
}

/** Parse the text typed into "Go to": {run} for "231", {hour} for "62.4 h" or "62,4h", null for any other text. */
export function parseGoto(text) {
  const hour = /^\s*([0-9]+(?:[.,][0-9]+)?)\s*(h|hpi|hours?)\s*$/i.exec(text);
  if (hour) return { hour: Number(hour[1].replace(",", ".")) };
  const run = /^\s*(?:run\s*)?([0-9]+)\s*$/i.exec(text);
  return run ? { run: Number(run[1]) } : null;
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

/** Return the action of a key, or null. Keys with Ctrl, Alt or Meta belong to the browser and to JupyterLab. */
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
  ["Space K", "play, pause"], ["J L", "play backwards, forwards; press again: faster"], ["\u2190 \u2192 , .", "one frame"],
  ["Shift \u2190 \u2192", "ten frames"], ["\u2191 \u2193 wheel", "focal plane"], ["Home End", "first, last frame"],
  ["[ ]", "previous, next phase"], ["I O", "start, end of the loop"], ["< >", "slower, faster"], ["Esc", "leave the player"],
];

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
const FRAMES_PER_REQUEST = 256;
const STAND_IN_AFTER = 80; // milliseconds to wait for a frame before a neighbour is drawn instead
const SPARE_DELAY = 1500; // milliseconds before a spare message is acknowledged while playing; the kernel waits for 2 seconds

/** Decode JPEG bytes into a bitmap, or return null. Of a truncated file, the part that exists is shown, as in any web page. */
async function decode(bytes) {
  return (await decodeDirectly(bytes)) ?? (await decodeBlob(bytes, [])) ?? (await decodeBlob(bytes, [0xff, 0xd9]));
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

export class Engine {
  constructor(model) {
    this.model = model;
    this.series = readSeries(model.get("_series"));
    this.views = new Set();
    this.counts = new Map();
    this.jpegs = new Cache(JPEG_BUDGET, (f) => f.bytes.length + 64, (f) => this.changeCount(f.group, -1));
    this.bitmaps = new Cache(BITMAP_BUDGET, (b) => b.width * b.height * 4, (b) => b.close());
    this.decoding = new Set();
    this.requestedAt = new Map();
    this.capacity = 64;
    this.missingRounds = 0;
    this.target = null;
    this.paintedAt = -Infinity;
    this.index = nearest(this.series.runs, model.get("value"));
    this.shown = this.index;
    this.exact = false;
    this.direction = 1;
    this.carry = 0.5;
    this.publisher = new Throttle(100, (run) => this.publishValue(run));
    this.annotator = model.get("_track")?.video ? new Annotator(this) : null; // see annotate.js
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
  get run() {
    return this.series.runs[this.index];
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
  /** First and last index of the loop, or of the whole video. */
  get range() {
    const { runs } = this.series;
    const [low, high] = this.model.get("bounds").map((run) => nearest(runs, run));
    return low === undefined ? [0, runs.length - 1] : [low, high];
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
  /** Show another plane, or all of them, and request the frames for that. */
  changePlanes() {
    for (const view of this.views) view.arrangePanes();
    this.applySettings();
    this.requestNeeded();
  }
  /** Update all views after a setting has changed. */
  applySettings() {
    for (const view of this.views) view.updateSettings();
    this.decodeNext();
    this.paint();
  }

  // -- receive frames --

  key(video, plane, index) {
    return `${video}/${plane}/${this.series.runs[index]}`;
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
    if (this.jpegs.has(key)) return;
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
    const { videos, planes, runs } = this.series;
    if (this.jpegs.weight > 0.8 * JPEG_BUDGET) return;
    const order = coarseToFine(runs.length);
    const lost = [this.plane, ...planes.filter((plane) => plane !== this.plane)].flatMap((plane) =>
      order.flatMap((i) =>
        videos.flatMap((video, v) => (video.has(plane, runs[i]) ? [[this.key(v, plane, i), v, plane, runs[i]]] : [])),
      ),
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
    const last = this.series.runs.length - 1;
    const room = Math.min(32, Math.floor(this.capacity / panes.length) - 1);
    const near = [1, -1, 2, -2].map((k) => Math.max(0, Math.min(last, this.index + k)));
    const places = this.ticking ? [...this.chooseTarget(), this.index, ...this.placesAhead(room)] : [this.index, ...near];
    const wishes = places.flatMap((index) => panes.map((pane) => this.frameAt(pane, index)));
    if (!this.ticking) wishes.push(...this.otherPlanes());
    return wishes.slice(0, Math.max(this.capacity, panes.length));
  }
  frameAt({ video, plane }, index) {
    return [this.key(video, plane, index), video, plane, this.series.runs[index]];
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
    const run = this.series.runs[index];
    return this.panes.every(({ video, plane }) => this.jpegs.has(this.key(video, plane, index)) || !this.series.videos[video].has(plane, run));
  }
  /** Start to decode the most urgent frames that are held, up to the limit. */
  decodeNext() {
    if (this.disposed || this.decoding.size >= DECODES_AT_ONCE) return;
    const wishes = this.framesToDecode();
    if (!this.ticking && !this.exact) wishes.splice(this.panes.length, 0, ...this.findStandIns());
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
    const bitmap = await decode(jpeg.bytes);
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
    this.bitmaps.limit = Math.max(BITMAP_BUDGET, 2 * this.panes.length * weight);
    this.capacity = Math.floor((0.8 * this.bitmaps.limit) / weight);
    this.bitmaps.put(key, bitmap);
  }
  /** Return, for each pane whose frame has not arrived, the nearest frame that is held. */
  findStandIns() {
    return this.panes.flatMap(({ video, plane }) => {
      const run = this.series.runs[this.index];
      if (this.jpegs.has(this.key(video, plane, this.index)) || !this.series.videos[video].has(plane, run)) return [];
      const index = this.findNearest((i) => this.jpegs.has(this.key(video, plane, i)) && !this.jpegs.map.get(this.key(video, plane, i)).broken);
      return index < 0 ? [] : [[this.key(video, plane, index), video, plane, this.series.runs[index]]];
    });
  }
  /** Return the index nearest to the playhead for which `good(index)` is true; otherwise -1. */
  findNearest(good) {
    const n = this.series.runs.length;
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
    if (!this.series.videos[video].has(plane, this.series.runs[index])) return { kind: "missing", index, key };
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
      if (i < 0 || i >= this.series.runs.length) break;
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
  }
  /** Draw neighbours in place of frames that have taken too long. */
  paintStandIns() {
    this.standInTimer = null;
    if (!this.exact) this.paint();
  }

  // -- the clock --

  /** Go to the run nearest to `run`; the latest call wins. */
  seek(run) {
    this.goToIndex(nearest(this.series.runs, run));
  }
  goToIndex(index) {
    this.index = index;
    this.exact = false;
    if (this.ticking) {
      this.shown = index;
      this.carry = 0;
    }
    this.paint();
    this.decodeNext();
    if (!this.exact) this.requestNeeded();
    this.publisher.offer(this.run); // last: the picture does not wait for the message to the kernel
  }
  step(by) {
    this.set({ playing: false });
    this.goToIndex(move(this.index, by, 0, this.series.runs.length - 1, false).index);
  }
  togglePlaying() {
    this.set({ playing: !this.playing });
  }
  startPlaying() {
    const [low, high] = this.range;
    const end = this.rate < 0 ? low : high;
    if (this.index === end || this.index < low || this.index > high) this.index = this.rate < 0 ? high : low;
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
    if (ended) this.set({ playing: false });
  }
  stopPlaying() {
    this.updateClock();
    this.exact = false;
    this.paint();
    this.decodeNext();
    if (!this.exact) this.requestNeeded();
    this.publisher.offer(this.run);
    this.publisher.flush();
    for (const view of this.views) view.updateSettings();
  }

  // -- actions of keys and buttons --

  perform([name, by]) {
    const { planes, runs, videos } = this.series;
    const acts = {
      toggle: () => this.togglePlaying(),
      shuttle: () => this.set({ speed: this.playing ? shuttle(this.model.get("speed"), by) : by, playing: true }),
      step: () => this.step(by),
      plane: () => this.set({ plane: planes[Math.max(0, Math.min(planes.length - 1, planes.indexOf(this.plane) + by))] }),
      edge: () => this.goToIndex(by < 0 ? 0 : runs.length - 1),
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
    this.publisher.stop();
    this.jpegs.clear();
    this.bitmaps.clear();
  }
}

// --- the view: one display of a player ---------------------------------------------------------------------------------

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z", previous: "M11 3v10L4 8zM11.5 3h2v10h-2z", play: "M4 2.5v11L13.5 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z", next: "M5 3v10l7-5zM2.5 3h2v10h-2z", last: "M11 3h2v10h-2zM3 3v10l7-5z",
  back: "M12 2.5v11L2.5 8z",
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
    this.visible = true;
    const { videos } = engine.series;
    this.several = videos.length > 1;
    this.root = makeElement("div", {
      class: "embryo-player", tabindex: "0", role: "group", "data-lm-suppress-shortcuts": "true",
      "aria-label": `Embryo time-lapse ${videos.map((video) => video.name).join(", ")}`,
    });
    this.root.embryo = { stats: () => engine.stats(), bytes: (...frame) => engine.bytes(...frame) };
    this.stage = makeElement("div", { class: "ep-panes" });
    this.annotation = engine.annotator ? new AnnotationView(this) : null;
    this.root.classList.toggle("ep-many", this.several);
    const main = makeElement("div", { class: "ep-main" }, this.stage, ...(this.several ? [] : [this.makeSide()]));
    this.root.append(main, this.makeTimeline(), this.makeTransport(), this.makeSettingsRow(), this.makeHelp());
    host.append(this.root);
    this.listenToInput();
    this.arrangePanes();
    this.updateSettings();
    this.drawHeldBar();
  }

  // -- parts --

  makeButton(label, name, act) {
    const node = makeElement("button", { type: "button", class: "ep-button", "aria-label": label, title: label, onclick: act });
    node.append(makeIcon(name));
    return node;
  }
  makeToggle(text, label, trait) {
    const { engine } = this;
    const flip = () => engine.set({ [trait]: !engine.model.get(trait) });
    const node = makeElement("button", { type: "button", class: "ep-toggle", title: label, "aria-pressed": "false", text, onclick: flip });
    node.update = () => updateAttribute(node, "aria-pressed", String(engine.model.get(trait)));
    (this.toggles ??= []).push(node);
    return node;
  }
  /** Make the panel at the side: name, grade, and the list of phases, each a button that goes to its first run. */
  makeSide() {
    if (this.annotation) return this.annotation.panel;
    const [video] = this.engine.series.videos;
    this.phaseItems = video.phases.map(([name, meaning, first, last]) => {
      const hour = video.hours.get(first);
      const go = makeElement(
        "button",
        { type: "button", class: "ep-phase", onclick: () => this.engine.seek(first), title: `${name}, ${meaning}: runs ${first} to ${last}` },
        makeChip(name),
        makeElement("b", { text: name }),
        makeElement("span", { class: "ep-meaning", text: meaning }),
        makeElement("span", { class: "ep-at", text: hour === undefined ? `run ${first}` : `${hour.toFixed(1)} h` }),
      );
      return { go, first, last };
    });
    const grade = video.grade ? `TE ${video.grade[0]} \u00b7 ICM ${video.grade[1]}` : "not graded";
    return makeElement(
      "div",
      { class: "ep-side" },
      makeElement("div", { class: "ep-title" }, makeElement("strong", { text: video.name }), makeElement("span", { class: "ep-quiet", text: grade })),
      this.phaseItems.length
        ? makeElement("ol", { class: "ep-phases", "aria-label": "Phases" }, ...this.phaseItems.map(({ go }) => makeElement("li", {}, go)))
        : makeElement("p", { class: "ep-problem ep-quiet", text: video.faults.length ? "no phases, because:" : "not annotated" }),
      ...video.faults.map((text) => makeElement("p", { class: "ep-problem ep-quiet", text })),
    );
  }
  makeTimeline() {
    const { engine } = this;
    const { runs, videos } = engine.series;
    const [first, last] = [runs[0], runs.at(-1)];
    const bands = this.annotation?.bands ?? videos.map((video) => this.makeBand(video, first, last));
    this.heldBar = makeElement("canvas", { class: "ep-fill", width: Math.max(1, Math.min(2000, runs.length)), height: "1", "aria-hidden": "true" });
    this.loop = makeElement("div", { class: "ep-loop", hidden: true });
    this.seek = makeElement("input", {
      type: "range", class: "ep-seek", "aria-label": "Seek", min: first, max: Math.max(last, first + 1), step: "1", value: first,
      oninput: () => engine.seek(Number(this.seek.value)), onchange: () => engine.seek(Number(this.seek.value)),
    });
    const ticks = days(videos[0].hours).map(([hour, run]) => {
      const tick = makeElement("span", { class: "ep-tick", text: `${hour} h`, title: `first run at or after ${hour} h: ${run}` });
      tick.style.left = `${100 * along(run, first, last)}%`;
      return tick;
    });
    return makeElement("div", { class: "ep-timeline" }, ...bands, this.loop, this.seek, this.heldBar, makeElement("div", { class: "ep-ticks" }, ...ticks));
  }
  makeBand(video, first, last) {
    const parts = segments(video.phases, first, last).map(({ name, first: from, last: to, left, width }) => {
      const node = makeElement("span", { class: name ? "ep-part" : "ep-part ep-bare", title: `${name || "unlabelled"}: runs ${from} to ${to}` });
      Object.assign(node.style, { left: `${left}%`, width: `${width}%` });
      if (name) Object.assign(node.style, { background: PHASES[name], color: ink(PHASES[name]) });
      node.append(makeElement("span", { text: name }));
      return node;
    });
    const holes = gaps(Object.values(video.runs).reduce((a, b) => (b.length > a.length ? b : a), [])).map(([from, to]) => {
      const node = makeElement("span", { class: "ep-gap", title: from === to ? `run ${from} is missing` : `runs ${from} to ${to} are missing` });
      Object.assign(node.style, { left: `${100 * along(from - 0.5, first, last)}%`, width: `${(100 * (to - from + 1)) / Math.max(1, last - first)}%` });
      return node;
    });
    return makeElement("div", { class: "ep-band", "aria-hidden": "true" }, ...parts, ...holes);
  }
  makeTransport() {
    const { engine } = this;
    const act = (...action) => () => engine.perform(action);
    this.playButton = this.makeButton("Play", "play", act("toggle"));
    this.playButton.classList.add("ep-play");
    this.number = makeElement("b", { class: "ep-run" });
    this.number.style.minWidth = `${String(engine.series.runs.at(-1)).length}ch`;
    this.hour = makeElement("span", { class: "ep-hour" });
    this.phaseChip = makeChip("");
    this.phaseText = makeElement("span", { class: "ep-phase-now" });
    this.live = makeElement("span", { class: "ep-unseen", role: "status" });
    const goto = makeElement("input", {
      type: "text", class: "ep-goto", placeholder: "run or 62.4 h", "aria-label": "Go to run or hour", size: "18",
      onkeydown: (event) => event.key === "Enter" && this.goTo(goto),
      onchange: () => this.goTo(goto),
    });
    return makeElement(
      "div",
      { class: "ep-row ep-transport" },
      makeElement(
        "div",
        { class: "ep-buttons" },
        this.makeButton("First frame", "first", act("edge", -1)),
        this.makeButton("Reverse", "back", act("shuttle", -1)),
        this.makeButton("Previous frame", "previous", act("step", -1)),
        this.playButton,
        this.makeButton("Next frame", "next", act("step", 1)),
        this.makeButton("Last frame", "last", act("edge", 1)),
      ),
      makeElement(
        "div",
        { class: "ep-now" },
        makeElement("span", { class: "ep-count" }, makeElement("span", { class: "ep-quiet", text: "run " }), this.number,
          makeElement("span", { class: "ep-quiet", text: ` of ${engine.series.runs.at(-1)}` })),
        this.hour,
        makeElement("span", { class: "ep-phase-box" }, this.phaseChip, this.phaseText),
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
  makeSettingsRow() {
    const { engine } = this;
    const { planes } = engine.series;
    this.planeButtons = planes.map((plane) => {
      const pick = () => engine.set({ plane });
      return makeElement("button", { type: "button", class: "ep-plane", text: plane, title: `focal plane ${plane}`, "aria-pressed": "false", onclick: pick });
    });
    const pickSpeed = () => engine.set({ speed: Number(this.speed.value) * (Math.sign(engine.model.get("speed")) || 1) });
    const options = SPEEDS.map((speed) => makeElement("option", { value: speed, text: `${speed}\u00d7` }));
    this.speed = makeElement("select", { class: "ep-speed", "aria-label": "Speed", title: "speed", onchange: pickSpeed }, ...options);
    this.rateText = makeElement("span", { class: "ep-quiet ep-rate" });
    const toggles = [this.makeToggle("loop", "repeat from the start", "loop")];
    toggles.push(this.makeToggle("every frame", "show every frame, even if that is slower", "every_frame"));
    if (planes.length > 1) toggles.push(this.makeToggle("all planes", "show all focal planes side by side", "all_planes"));
    this.helpButton = makeElement("button", { type: "button", class: "ep-toggle", text: "?", "aria-label": "Help", title: "keyboard shortcuts", "aria-expanded": "false", onclick: () => this.toggleHelp() });
    return makeElement(
      "div",
      { class: "ep-row ep-settings" },
      makeElement("div", { class: "ep-planes", role: "group", "aria-label": "Focal plane" }, ...this.planeButtons),
      makeElement("div", { class: "ep-pace" }, this.speed, this.rateText),
      makeElement("div", { class: "ep-toggles" }, ...toggles, this.helpButton),
    );
  }
  makeHelp() {
    const rows = [...KEYS, ...(this.annotation ? ANNOTATION_KEYS : [])].flatMap(([keys, what]) => [makeElement("dt", {}, ...keys.split(" ").map((key) => makeElement("kbd", { text: key }))), makeElement("dd", { text: what })]);
    this.helpBox = makeElement("dl", { class: "ep-help", hidden: true }, ...rows);
    return this.helpBox;
  }
  toggleHelp(open = this.helpBox.hidden) {
    this.helpBox.hidden = !open;
    updateAttribute(this.helpButton, "aria-expanded", String(open));
  }

  // -- focus, keys, wheel --

  listenToInput() {
    const { root, engine } = this;
    root.addEventListener("keydown", (event) => this.handleKey(event));
    root.addEventListener("focusin", ({ relatedTarget }) => {
      if (relatedTarget && !root.contains(relatedTarget)) this.focusedBefore = relatedTarget;
    });
    let turned = 0;
    const turn = (event) => {
      if (!root.contains(document.activeElement) || event.ctrlKey) return;
      event.preventDefault();
      turned += event.deltaY;
      if (Math.abs(turned) < 40) return;
      engine.perform(["plane", turned < 0 ? 1 : -1]);
      turned = 0;
    };
    this.stage.addEventListener("wheel", turn, { passive: false });
    this.visibilityObserver = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      engine.updateClock();
    });
    this.visibilityObserver.observe(root);
  }
  handleKey(event) {
    if (this.annotation?.handleKey(event)) return;
    const { target } = event;
    const typing = target.matches("input[type=text], select");
    const action = keyAction(event);
    if (!action || (typing && action[0] !== "leave") || (event.key === " " && target.matches("button"))) return;
    event.preventDefault();
    event.stopPropagation();
    if (action[0] === "leave") this.releaseFocus();
    else if (action[0] === "help") this.toggleHelp();
    else this.engine.perform(action);
  }
  /** Return the focus to the previous element, or to the notebook cell around the player. */
  releaseFocus() {
    if (!this.helpBox.hidden) return this.toggleHelp(false);
    const cell = this.root.closest(".jp-Cell, .jp-Notebook");
    const back = this.focusedBefore?.isConnected ? this.focusedBefore : cell;
    document.activeElement.blur();
    back?.focus({ preventScroll: true });
  }

  // -- updates --

  /** Update the panes after the plane or the number of planes has changed; a pane that stays keeps its picture. */
  arrangePanes() {
    const { engine } = this;
    const all = engine.model.get("all_planes");
    const { panes } = engine;
    const was = this.panes ?? [];
    if (was.length !== panes.length) {
      this.panes = panes.map(() => this.makePane());
      this.stage.replaceChildren(...this.panes.map(({ figure }) => figure));
    }
    const per = panes.length / engine.series.videos.length;
    this.root.classList.toggle("ep-all", all);
    updateAttribute(this.stage, "data-panes", String(panes.length));
    this.stage.style.setProperty("--ep-columns", String(panes.length === 1 ? 1 : all && !this.several ? Math.ceil(per / 2) : Math.min(4, panes.length)));
    this.panes.forEach((pane, i) => {
      const { video, plane } = panes[i];
      Object.assign(pane, { video, plane });
      updateText(pane.name, this.several ? (all ? `${engine.series.videos[video].name} ${plane}` : engine.series.videos[video].name) : plane);
      pane.figure.classList.toggle("ep-current", all && plane === engine.plane);
      pane.figure.onclick = all ? () => engine.set({ plane }) : null;
    });
  }
  makePane() {
    const canvas = makeElement("canvas", { role: "img", width: "500", height: "500" });
    const note = makeElement("p", { class: "ep-note", hidden: true });
    const badge = makeElement("span", { class: "ep-badge", hidden: true });
    const name = makeElement("span", { class: "ep-name" });
    const details = makeElement("span", { class: "ep-details" });
    const figure = makeElement("figure", { class: "ep-pane" }, makeElement("div", { class: "ep-frame" }, canvas, note, badge), makeElement("figcaption", {}, name, details));
    return { figure, canvas, note, badge, name, details, context: canvas.getContext("2d", { alpha: false }), key: null };
  }
  /** Show speed, loop and plane, which do not change from frame to frame. */
  updateSettings() {
    const { engine } = this;
    const { model } = engine;
    const { playing } = engine;
    for (const toggle of this.toggles) toggle.update();
    if (this.playButton.getAttribute("aria-label") !== (playing ? "Pause" : "Play")) {
      updateAttribute(this.playButton, "aria-label", playing ? "Pause" : "Play");
      updateAttribute(this.playButton, "title", playing ? "Pause" : "Play");
      this.playButton.replaceChildren(makeIcon(playing ? "pause" : "play"));
    }
    this.planeButtons.forEach((button, i) => updateAttribute(button, "aria-pressed", String(engine.series.planes[i] === engine.plane)));
    this.speed.value = String(Math.abs(model.get("speed")));
    updateText(this.rateText, `${engine.rate < 0 ? "\u2190 " : ""}${Number(Math.abs(engine.rate).toFixed(1))} frames/s`);
    const bounds = model.get("bounds");
    this.loop.hidden = bounds.length === 0;
    if (bounds.length) {
      const { runs } = engine.series;
      const [from, to] = bounds.map((run) => along(run, runs[0], runs.at(-1)));
      Object.assign(this.loop.style, { left: `calc(var(--ep-thumb) / 2 + (100% - var(--ep-thumb)) * ${from})`, width: `calc((100% - var(--ep-thumb)) * ${to - from})` });
    }
    if (!playing) this.announce();
    engine.updateHeldBars();
  }
  /** Draw a thin line below the seek bar where the frames are held. */
  drawHeldBar() {
    const { engine } = this;
    const { runs, videos } = engine.series;
    updateAttribute(this.root, "data-held", String(engine.held));
    const { width } = this.heldBar;
    const context = this.heldBar.getContext("2d");
    context.clearRect(0, 0, width, 1);
    context.fillStyle = getComputedStyle(this.heldBar).color;
    for (let x = 0; x < width; x++) {
      const index = Math.floor((x * runs.length) / width);
      const here = videos.filter((video, v) => engine.jpegs.has(engine.key(v, engine.plane, index)) || !video.has(engine.plane, runs[index]));
      context.globalAlpha = here.length / videos.length;
      context.fillRect(x, 0, 1, 1);
    }
  }
  /** Draw what the engine has looked up; the attributes change in the same task as the pixels. */
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
      updateAttribute(root, "data-video", video.name);
      updateAttribute(root, "data-plane", pane.plane);
      updateAttribute(root, "data-phase", phase?.[0] ?? "");
      updateAttribute(root, "data-run", String(run));
    }
    updateAttribute(root, "data-exact", String(engine.exact));
    this.showPosition(engine.ticking ? run : engine.run);
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
      updateAttribute(figure, "data-video", video.name);
      updateAttribute(figure, "data-plane", pane.plane);
      updateAttribute(figure, "data-run", String(run));
      const phase = this.several ? phaseAt(video.phases, run)?.[0] ?? "unlabelled" : "";
      const hour = this.several ? video.hours.get(run) : undefined;
      updateText(pane.details, [phase, hour === undefined ? "" : hourText(hour)].filter(Boolean).join(" \u00b7 "));
    }
    const blank = { missing: `run ${run} is missing in ${pane.plane}`, broken: `run ${run} cannot be read: ${look.problem}` };
    const text = pane.plane in video.runs ? (blank[look.kind] ?? "") : `no plane ${pane.plane}`;
    updateAttribute(figure, "data-state", look.kind);
    note.hidden = !text && !(look.kind === "waiting" && pane.key === null);
    updateText(note, text || (note.hidden ? "" : "waiting for frames from the kernel"));
    const warn = look.kind === "near" ? `run ${run} is shown instead` : look.bitmap && look.problem ? `run ${run}: ${look.problem}` : "";
    badge.hidden = !warn;
    updateText(badge, warn);
  }
  /** Show the position of the playhead as text. */
  showPosition(run) {
    const { engine } = this;
    const [video] = engine.series.videos;
    const phase = phaseAt(video.phases, run);
    const hour = video.hours.get(run);
    updateText(this.number, String(run));
    updateText(this.hour, hourText(hour));
    updateText(this.phaseText, phase ? `${phase[0]} \u00b7 ${phase[1]}` : "unlabelled");
    const colour = phase ? PHASES[phase[0]] : "transparent";
    if (this.colour !== colour) this.phaseChip.style.background = this.colour = colour;
    if (this.seek.value !== String(run)) this.seek.value = String(run);
    const state = { run, last: engine.series.runs.at(-1), hour, phase: phase?.[0], plane: engine.plane };
    updateAttribute(this.seek, "aria-valuetext", describe(state));
    for (const { go, first, last } of this.phaseItems ?? []) updateAttribute(go, "aria-current", String(first <= run && run <= last));
    if (!engine.playing) this.announce(describe(state));
  }
  /** Announce the frame to screen readers, only when paused: they cannot follow 60 frames per second. */
  announce(text = this.seek.getAttribute("aria-valuetext") ?? "") {
    clearTimeout(this.announceTimer);
    this.announceTimer = setTimeout(() => {
      updateText(this.live, text);
      this.panes.forEach(({ canvas, video, plane }) => {
        updateAttribute(canvas, "aria-label", `${this.engine.series.videos[video].name}, plane ${plane}, ${text.split(", plane")[0]}`);
      });
    }, 200);
  }
  remove() {
    clearTimeout(this.announceTimer);
    this.annotation?.remove();
    this.visibilityObserver.disconnect();
    this.root.remove();
  }
}

// --- hosts ------------------------------------------------------------------------------------------------------------

/** The model of a page written by `to_html`, which has no kernel. */
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

/** Display an engine in `host`; return the function that removes this display. */
export function addView(engine, host) {
  const view = new View(engine, host);
  engine.views.add(view);
  engine.paint();
  engine.decodeNext();
  engine.updateClock();
  return () => {
    engine.views.delete(view);
    view.remove();
    engine.updateClock();
  };
}

/** Play without a kernel; the elements `boxes` contain the frames as JSON, [[video, plane, run, problem, base64], ...]. */
export async function standalone(host, state, boxes) {
  const engine = new Engine(new LocalModel(state));
  addView(engine, host);
  for (const box of boxes) {
    for (const [video, plane, run, problem, data] of JSON.parse(box.textContent)) engine.store(video, plane, run, fromBase64(data), problem);
    box.remove();
    engine.showArrivals();
    await new Promise((resume) => setTimeout(resume));
  }
  return engine;
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
