// The list of an Explorer in the browser: one module, no build step, no dependency, no request.
//
// The kernel sends one compact description of the videos, in parts, and thumbnails as rows are shown. Filtering and sorting
// happen here. Each list has one Store, with the descriptions and the thumbnails, and one View for each place where it is displayed.

// --- pure helpers: no DOM, no state; tested by `node --test` ----------------------------------------------------------

// The colours of the player's band.
export const PHASES = {
  tPB2: "#1a366c", tPNa: "#00284e", tPNf: "#285a72", t2: "#004852", t3: "#3c766f", t4: "#2f5d44", t5: "#698856", t6: "#626d29",
  t7: "#a4983d", t8: "#9e7c1e", "t9+": "#e4a651", tM: "#d3864c", tSB: "#ffb793", tB: "#e79b92", tEB: "#ffd0dc", tHB: "#e5b2d4",
};
const ORDER = Object.keys(PHASES);
export const NO_FILTERS = { text: "", code: "", reached: "", te: "", icm: "", finding: "", marked: false, sort: "name", down: false };
export const SORTS = { name: "name", code: "code", last: "last phase", findings: "number of findings", ...Object.fromEntries(ORDER.map((name) => [name, `onset of ${name}`])) };
// The usual hours of observation, as in viewer.plots.
export const DAYS = { D1: 17, D2: 44, D3: 68, D4: 92, D5: 116, D6: 140 };
const INTERVALS = { cc2: ["t3", "t2"], s2: ["t4", "t3"], cc3: ["t5", "t3"], s3: ["t8", "t5"] };

/** Return 0 ... n-1 from coarse to fine: every 4th number, then every 2nd, then the others; each once. */
export function coarseToFine(n, stride = 4) {
  const order = [];
  for (let s = stride; s >= 1; s /= 2) {
    for (let i = 0; i < n; i += s) if (s === stride || i % (2 * s)) order.push(i);
  }
  return order;
}

/** Return the name of the last phase of a row, in the order of the phases; "" if it has none. */
export function lastPhase(row) {
  return row?.phases?.reduce((best, [name]) => (ORDER.indexOf(name) > ORDER.indexOf(best) ? name : best), "") ?? "";
}

/** Return whether a video fits one word: the name of a phase that it must reach, or a part of its name, code, checks or comments. */
export function fitsWord(item, word) {
  if (word in PHASES) return item.row?.phases.some(([name]) => name === word) ?? false;
  return item.words.includes(word.toLowerCase());
}

const GRADE_OF = { te: 0, icm: 1 };

/** Return whether a video fits the filters; `except` names one that is ignored. An item is {name, code, row, words, marked}. */
export function fits(item, filters, except = "") {
  const { row } = item;
  const asked = (name) => (name === except ? "" : filters[name]);
  if (asked("text") && !asked("text").trim().split(/\s+/).every((word) => !word || fitsWord(item, word))) return false;
  if (asked("code") && item.code !== asked("code")) return false;
  if (asked("marked") && !item.marked) return false;
  if (asked("reached") && !row?.phases.some(([name]) => name === asked("reached"))) return false;
  for (const [name, at] of Object.entries(GRADE_OF)) {
    if (asked(name) && (row ? (row.grade?.[at] ?? "-") : null) !== asked(name)) return false;
  }
  const finding = asked("finding");
  if (finding === "any") return Boolean(row?.findings.length);
  if (finding === "none") return Boolean(row) && !row.findings.length;
  return !finding || Boolean(row?.findings.some(([check]) => check === finding));
}

/** Return the key by which an item is sorted; undefined sorts last. */
function sortKey(item, by) {
  if (by in PHASES) return item.row?.times[by];
  if (by === "last") return item.row && lastPhase(item.row) ? ORDER.indexOf(lastPhase(item.row)) : undefined;
  if (by === "findings") return item.row?.count;
  return by === "code" ? item.codeAt : item.at;
}

/** Return the items that fit the filters, sorted; missing values are last in both directions. */
export function select(items, filters) {
  const sign = filters.down ? -1 : 1;
  const found = items.filter((item) => fits(item, filters)).map((item) => [sortKey(item, filters.sort), item]);
  found.sort(([a, one], [b, other]) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || one.at - other.at;
    return sign * (a - b) || one.at - other.at;
  });
  return found.map(([, item]) => item);
}

/** Return {value: number of items that fit all other filters and this value} for one of the filters. */
export function countsOf(items, filters, name) {
  const counts = {};
  const add = (value) => (counts[value] = (counts[value] ?? 0) + 1);
  for (const item of items) {
    if (!fits(item, filters, name)) continue;
    add("");
    const { row } = item;
    if (name === "code") add(item.code);
    if (!row) continue;
    if (name === "reached") for (const phase of new Set(row.phases.map(([phase]) => phase))) add(phase);
    if (name in GRADE_OF) add(row.grade?.[GRADE_OF[name]] ?? "-");
    if (name === "finding") for (const check of [row.findings.length ? "any" : "none", ...new Set(row.findings.map(([check]) => check))]) add(check);
  }
  return counts;
}

/** Return the parts of a video's band, [{name, left, width, title}], positions in percent of `limit` hours, or of the runs if it has no times. */
export function bandParts(row, limit) {
  const timed = row.phases.some(([, , , from]) => from !== null);
  const [low, high] = timed ? [0, limit] : [row.runs[0], row.runs[1] + 1];
  const at = (x) => Math.max(0, Math.min(100, (100 * (x - low)) / Math.max(1e-9, high - low)));
  return row.phases.flatMap(([name, first, last, from, to]) => {
    const [start, end] = timed ? [from, to] : [first, last + 1];
    if (start === null) return [];
    const hours = from === null ? "no time recorded" : `${from.toFixed(1)} h`;
    const runs = first === last ? `run ${first}` : `runs ${first} to ${last}`;
    return [{ name, left: at(start), width: Math.max(0, at(end) - at(start)), title: `${name}, ${runs}, ${hours}` }];
  });
}

/** Return cc2, s2, cc3 and s3 in hours, from the hours at which the phases begin; undefined if one is missing. */
export function intervalsOf(times) {
  return Object.fromEntries(Object.entries(INTERVALS).map(([name, [later, earlier]]) => [name, later in times && earlier in times ? times[later] - times[earlier] : undefined]));
}

/** Return the height of a row of the raster in pixels: all rows in `height` if they can be seen then, else as low as can be seen. */
export function rasterRow(height, count) {
  return Math.max(2, Math.min(18, Math.floor(height / Math.max(1, count))));
}

/** Return the ways in which siblings can be aligned, [[value, text], ...]: by the phases that some of them have, by hours, by run. */
export function alignments(rows) {
  const found = ORDER.filter((name) => rows.some((row) => row && name in row.times));
  const texts = found.map((name) => [name, name === "t2" ? "from the first division (t2)" : `from the start of ${name}`]);
  return [...texts, ["hours", "by hours since insemination"], ["run", "by picture number"]];
}

/** Return notes [[run, hour, comment], ...] in which a run has a comment, or no bookmark if it is null. */
export function withNote(notes, run, comment) {
  const [, hour] = notes.find(([at]) => at === run) ?? [run, null];
  const others = notes.filter(([at]) => at !== run);
  return (comment === null ? others : [...others, [run, hour, comment]]).sort(([a], [b]) => a - b);
}

/** Return the text of a CSV file; cells that a spreadsheet would compute begin with an apostrophe. */
export function toCsv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** Return {index of the first row, index after the last row} to draw for a scroll position, with `more` rows before and after. */
export function shownRows(top, height, rowHeight, count, more = 4) {
  const from = Math.max(0, Math.min(count, Math.floor(top / rowHeight)) - more);
  return { from, to: Math.min(count, Math.ceil((top + height) / rowHeight) + more) };
}

/** Return the action of a key in the explorer, or null. Keys with Ctrl, Alt or Meta belong to the browser and to JupyterLab. */
export function keyAction({ key, ctrlKey = false, altKey = false, metaKey = false }) {
  if (ctrlKey || altKey || metaKey) return null;
  return { n: ["open", 1], p: ["open", -1], pagedown: ["open", 1], pageup: ["open", -1] }[key.toLowerCase()] ?? null;
}

/** Return the action of a key in the list, or null. */
export function listAction({ key, ctrlKey = false, altKey = false, metaKey = false }) {
  if (ctrlKey || altKey || metaKey) return null;
  return { ArrowDown: ["move", 1], ArrowUp: ["move", -1], Home: ["move", -Infinity], End: ["move", Infinity], Enter: ["choose"], " ": ["choose"] }[key] ?? null;
}

/** Return "run 5" or "runs 3-5, 9"; "" for no run. */
export function runsText(runs) {
  return runs && `${/^[0-9]+$/.test(runs) ? "run" : "runs"} ${runs}`;
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Split a buffer (an ArrayBuffer or a view of one) into Uint8Arrays of the given sizes, which share its memory. */
export function slices(buffer, sizes) {
  const view = ArrayBuffer.isView(buffer) ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
  let at = 0;
  return sizes.map((size) => view.subarray(at, (at += size)));
}

// --- the store: one per explorer ---------------------------------------------------------------------------------------

const AGAIN_AFTER = 2000; // milliseconds after which what did not arrive is requested again
const AT_ONCE = 64; // thumbnails per request
const MOST_THUMBNAILS = 2000; // held in the page, about 4 KB each

export class Store {
  constructor(model) {
    this.model = model;
    this.views = new Set();
    this.thumbnails = new Map();
    this.requestedAt = new Map();
    this.notes = {};
    this.status = "";
    this.session = Math.random().toString(36).slice(2, 12);
    this.changes = 0; // of bookmarks, in this page
    this.pending = new Map(); // by video: the last change that the kernel has not confirmed
    this.chunk = model.get("chunk");
    const names = model.get("names");
    const codes = model.get("codes");
    const byCode = new Map([...new Set(codes)].map((code, i) => [code, i]));
    this.items = names.map((name, at) => ({ name, at, code: codes[at], codeAt: byCode.get(codes[at]), row: null, words: name.toLowerCase(), marked: false }));
    this.byName = new Map(this.items.map((item) => [item.name, item]));
    this.siblings = new Map();
    for (const item of this.items) this.siblings.set(item.code, [...(this.siblings.get(item.code) ?? []), item]);
    this.missing = new Set(Array.from({ length: Math.ceil(names.length / this.chunk) }, (_, i) => i));
    this.shown = select(this.items, this.filters);
    this.handlers = {
      "msg:custom": (message, buffers) => this.receive(message, buffers ?? []),
      "change:value": () => this.each((view) => {
        view.keepFocus();
        view.showChosen();
      }),
      "change:together": () => this.each((view) => view.showChosen()),
      "change:align": () => this.each((view) => view.showChosen()),
      "change:marking": () => this.each((view) => view.showChosen()),
      "change:problem": () => this.each((view) => view.showChosen()),
      "change:filters": () => this.applyFilters(),
    };
    for (const [name, handler] of Object.entries(this.handlers)) model.on(name, handler);
    this.hello(false);
  }
  each(act) {
    for (const view of this.views) act(view);
  }
  get filters() {
    return { ...NO_FILTERS, ...this.model.get("filters") };
  }
  get chosen() {
    return this.byName.get(this.model.get("value")) ?? null;
  }
  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }
  setFilters(changes) {
    this.set({ filters: { ...this.filters, ...changes } });
  }

  // -- messages --

  hello(base64) {
    this.base64 = base64;
    this.model.send({ kind: "hello", base64 });
    this.checkRows();
  }
  /** Request the descriptions that did not arrive, until all are here. */
  checkRows() {
    clearTimeout(this.rowTimer);
    if (!this.missing.size) return;
    this.rowTimer = setTimeout(() => {
      this.model.send({ kind: "want", items: [...this.missing].slice(0, 256).map((at) => [at, "rows", 0]) });
      this.checkRows();
    }, AGAIN_AFTER);
  }
  receive(message, buffers) {
    if (message.kind === "frames") this.unpack(message, buffers);
    if (message.kind === "notes") this.receiveNotes(message);
    if (message.kind === "rows") {
      for (const [at, row] of message.rows) this.storeRow(this.items[at], row);
      this.applyFilters(false);
    }
  }
  unpack(message, buffers) {
    const sizes = message.frames.map(([, , , size]) => size);
    const data = message.data === undefined ? (buffers[0] ?? new Uint8Array()) : Uint8Array.from(atob(message.data), (c) => c.charCodeAt(0));
    if (data.byteLength !== sizes.reduce((a, b) => a + b, 0)) {
      if (!this.base64) this.hello(true); // the host dropped the binary buffers
      return;
    }
    let rows = false;
    slices(data, sizes).forEach((bytes, i) => {
      const [at, kind, , , problem] = message.frames[i];
      if (kind === "rows") rows = this.storeRows(at, bytes) || rows;
      else if (bytes.length || problem !== "waiting") this.storeThumbnail(at, bytes);
    });
    this.model.send({ kind: "ack", seq: message.seq });
    if (rows) this.applyFilters(false);
  }
  storeRows(at, bytes) {
    if (!this.missing.delete(at)) return false;
    JSON.parse(new TextDecoder().decode(bytes)).forEach((row, i) => this.storeRow(this.items[at * this.chunk + i], row));
    return true;
  }
  /** Take a description, unless it is older than the one that is here. */
  storeRow(item, row) {
    const old = item.row;
    if (old && ((row.waiting && !old.waiting) || (row.hidden && !old.hidden))) return;
    item.row = row;
    this.collectWords(item);
    if (row.hours) this.limit = Math.max(24, this.limit ?? 0, Math.ceil(row.hours[1] / 24) * 24);
  }
  /** Collect the text in which words of the filter are found. */
  collectWords(item) {
    const checks = item.row?.findings.map(([check]) => check) ?? [];
    item.words = [item.name, ...new Set(checks), ...(this.notes[item.name] ?? []).map(([, , comment]) => comment)].join("\n").toLowerCase();
    item.marked = Boolean(this.notes[item.name]?.length);
  }
  storeThumbnail(at, bytes) {
    this.thumbnails.set(at, bytes.slice()); // a copy: a view would keep the whole message
    this.requestedAt.delete(at);
    if (this.thumbnails.size > MOST_THUMBNAILS) this.thumbnails.delete(this.thumbnails.keys().next().value);
    this.each((view) => view.showThumbnail(at));
  }
  /** Request the thumbnails of `items` that are not here, in this order; several calls within 30 ms are one request. */
  requestThumbnails(items) {
    this.wishes = items;
    this.wishTimer ??= setTimeout(() => {
      this.wishTimer = null;
      const now = performance.now();
      const open = this.wishes.filter(({ at, row }) => !this.thumbnails.has(at) && !row?.waiting && !(now - this.requestedAt.get(at) < AGAIN_AFTER)).slice(0, AT_ONCE);
      for (const { at } of open) this.requestedAt.set(at, now);
      if (open.length) this.model.send({ kind: "want", items: open.map(({ at }) => [at, "picture", 0]) });
      clearTimeout(this.againTimer);
      if (this.wishes.some(({ at, row }) => !this.thumbnails.has(at) && !row?.waiting)) this.againTimer = setTimeout(() => this.requestThumbnails(this.wishes), AGAIN_AFTER + 100);
    }, 30);
  }
  receiveNotes({ notes, status, answers }) {
    this.status = status;
    for (const [name, some] of Object.entries(notes)) {
      const awaited = this.pending.get(name);
      if (awaited !== undefined && !(answers?.session === this.session && answers.id >= awaited)) continue; // a later change is on its way
      this.pending.delete(name);
      this.storeNotes(name, some);
    }
    this.applyFilters(false);
    this.each((view) => view.showNotes());
  }
  storeNotes(name, notes) {
    this.notes[name] = notes;
    if (!notes.length) delete this.notes[name];
    if (this.byName.has(name)) this.collectWords(this.byName.get(name));
  }
  /** Bookmark a run, here at once and then in the kernel; without a comment (null), remove the bookmark. */
  note(video, run, comment) {
    const id = ++this.changes;
    this.pending.set(video, id);
    this.storeNotes(video, withNote(this.notes[video] ?? [], run, comment));
    this.model.send({ kind: "note", video, run, comment, session: this.session, id });
    this.applyFilters(false);
    this.each((view) => view.showNotes());
  }

  // -- filters --

  applyFilters(scroll = true) {
    this.shown = select(this.items, this.filters);
    this.each((view) => view.showRows(scroll));
    clearTimeout(this.shownTimer);
    this.shownTimer = setTimeout(() => {
      const rows = this.shown.map(({ at }) => at);
      if (String(rows) !== this.published) this.model.send({ kind: "shown", rows });
      this.published = String(rows);
    }, 60);
  }
  /** Choose the video `step` rows after the chosen one; `wanted` limits the choice. */
  open(step, wanted = () => true) {
    const here = this.shown.indexOf(this.chosen);
    const begin = here < 0 ? (step > 0 ? -1 : this.shown.length) : here;
    for (let i = begin + step; i >= 0 && i < this.shown.length; i += step) {
      if (wanted(this.shown[i])) {
        this.set({ value: this.shown[i].name });
        return true;
      }
    }
    return false;
  }
  dispose() {
    for (const [name, handler] of Object.entries(this.handlers)) this.model.off(name, handler);
    for (const name of ["rowTimer", "wishTimer", "againTimer", "shownTimer"]) clearTimeout(this[name]);
    this.thumbnails.clear();
  }
}

// --- the view: one display of an explorer ------------------------------------------------------------------------------

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
function update(node, name, value) {
  if (name === "text") {
    if (node.textContent !== value) node.textContent = value;
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Return black or white, whichever is easier to read on `hex`. */
function ink(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

const ROW = 52; // pixels
const HEADER = 24;
const RASTER_NAMES = 76; // pixels of the names beside the raster
const RASTER_EDGE = 2; // pixels above the first row and below the last one
const SIGNS = { error: "\u2715", warning: "!", info: "i" };
const MEANINGS = { NA: "NA (not graded)", "-": "not in the file" };
let views = 0;

/** Make the marks of the days on an axis of `limit` hours. */
function makeDays(limit) {
  return Object.entries(DAYS).filter(([, hour]) => hour < limit).map(([day, hour]) => {
    const mark = makeElement("span", { class: "ee-day", text: day, title: `day ${day.slice(1)}: ${hour} hours after insemination` });
    mark.style.left = `${(100 * hour) / limit}%`;
    return mark;
  });
}

/** Make a table of times: a phase or interval and its value per line. */
function makeTable(caption, unit, lines) {
  return makeElement("table", { class: "ee-times" }, makeElement("caption", { text: caption }),
    makeElement("thead", {}, makeElement("tr", {}, makeElement("th", { scope: "col", text: "" }), makeElement("th", { scope: "col", text: unit }))), makeElement("tbody", {}, ...lines));
}
function makeLine(name, text, title) {
  return makeElement("tr", { title }, makeElement("th", { scope: "row", text: name }), makeElement("td", { text }));
}
function makeProblems(row) {
  return row.problems.map((text) => makeElement("p", { class: "ee-quiet ee-problem", text }));
}

export class View {
  constructor(store, host) {
    this.store = store;
    this.host = host;
    this.id = `ee-${++views}`;
    this.pool = new Map();
    this.active = -1;
    host.classList.add("ee-host");
    this.list = this.makeList();
    this.raster = this.makeRaster();
    this.browser = makeElement("section", { class: "ee-browser", "aria-label": "Videos" }, this.makeFilters(), this.list, this.raster);
    this.details = makeElement("section", { class: "ee-details", "aria-label": "Chosen video", hidden: true });
    this.welcome = makeElement("div", { class: "ee-welcome" }, makeElement("p", { role: "status" }));
    host.append(this.browser, this.details, this.welcome);
    this.resizes = new ResizeObserver(() => this.fit());
    this.awaitPlayer = new MutationObserver(() => {});
    this.resizes.observe(this.browser);
    this.showRows();
    this.showChosen();
  }
  /** Find the explorer around this list, which also contains the player, once it is in the page. */
  findRoot() {
    if (this.root?.isConnected) return;
    this.root = this.host.closest(".embryo-explorer");
    if (!this.root) return;
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Explorer of embryo videos");
    this.root.tabIndex = -1; // it has the focus while one player replaces another
    this.onKey ??= (event) => this.handleKey(event);
    this.root.addEventListener("keydown", this.onKey);
    this.resizes.observe(this.root);
    this.labelRoot();
  }
  fit() {
    this.findRoot();
    const width = this.root?.clientWidth ?? 0;
    if (width) update(this.root, "data-width", width < 900 ? "narrow" : "wide");
    this.drawRows();
  }
  labelRoot() {
    if (!this.root) return;
    update(this.root, "data-shown", String(this.store.shown.length));
    update(this.root, "data-video", this.store.chosen?.name ?? "");
    update(this.root, "data-ready", String(!this.store.missing.size));
  }

  // -- filters --

  makeFilters() {
    const { store } = this;
    this.search = makeElement("input", {
      type: "search", class: "ee-search", "aria-label": "Filter videos", placeholder: "name, tB, check, comment", title: "Words of the name, the code, a check or a comment; the name of a phase that was reached, such as tB", autocomplete: "off", spellcheck: "false",
      oninput: () => store.setFilters({ text: this.search.value }),
      onkeydown: (event) => {
        if (event.key === "ArrowDown" || event.key === "Enter") {
          event.preventDefault();
          this.moveTo(Math.max(0, this.store.shown.indexOf(this.store.chosen)));
          (this.raster.hidden ? this.scroller : this.rasterBox).focus();
          if (event.key === "Enter") this.choose();
        }
      },
    });
    this.count = makeElement("output", { class: "ee-count", role: "status" });
    const pick = (name, label) => {
      const node = makeElement("select", { class: "ee-select", "aria-label": label, title: label, onchange: () => store.setFilters({ [name]: node.value }) });
      return { name, node };
    };
    this.selects = [pick("code", "Code"), pick("reached", "Phase reached"), pick("te", "Grade TE"), pick("icm", "Grade ICM"), pick("finding", "Finding")];
    this.marked = makeElement("button", { type: "button", class: "ee-button", text: "\u2605", title: "only videos with bookmarks", "aria-label": "Only videos with bookmarks", onclick: () => store.setFilters({ marked: !store.filters.marked }) });
    this.sort = makeElement("select", { class: "ee-select", "aria-label": "Sort by", onchange: () => store.setFilters({ sort: this.sort.value }) },
      ...Object.entries(SORTS).map(([value, text]) => makeElement("option", { value, text: `by ${text}` })));
    this.direction = makeElement("button", { type: "button", class: "ee-button", onclick: () => store.setFilters({ down: !store.filters.down }) });
    this.clear = makeElement("button", { type: "button", class: "ee-button", text: "Show all", onclick: () => store.setFilters({ ...NO_FILTERS, sort: store.filters.sort, down: store.filters.down }) });
    this.overview = makeElement("button", { type: "button", class: "ee-button", text: "Overview", title: "the phases of all videos in one picture", "aria-pressed": "false", onclick: () => this.toggleRaster() });
    return makeElement("div", { class: "ee-filters" },
      makeElement("div", { class: "ee-line" }, this.search, this.count),
      makeElement("div", { class: "ee-line ee-choices" }, ...this.selects.map(({ node }) => node)),
      makeElement("div", { class: "ee-line" }, this.sort, this.direction, this.marked, this.overview, makeElement("span", { class: "ee-space" }), this.clear));
  }
  showFilters() {
    const { store } = this;
    const { filters, items, shown } = store;
    if (this.search.value !== filters.text) this.search.value = filters.text;
    update(this.count, "text", shown.length === items.length ? plural(items.length, "video") : `${shown.length} of ${plural(items.length, "video")}`);
    clearTimeout(this.choicesTimer);
    if (this.counted) this.choicesTimer = setTimeout(() => this.showChoices(), 100); // the rows come first
    else this.showChoices();
    update(this.marked, "aria-pressed", String(filters.marked));
    if (this.sort.value !== filters.sort) this.sort.value = filters.sort;
    update(this.direction, "text", filters.down ? "\u2193" : "\u2191");
    update(this.direction, "aria-label", filters.down ? "Descending; change to ascending" : "Ascending; change to descending");
    update(this.direction, "title", filters.down ? "descending" : "ascending");
    const { sort, down, ...others } = filters;
    this.clear.disabled = Object.values(others).every((value) => !value);
  }
  /** Update the menus: their values, and how many videos each would show. */
  showChoices() {
    const { items, filters } = this.store;
    this.counted = true;
    const labels = { code: "all codes", reached: "any phase", te: "any TE", icm: "any ICM", finding: "findings" };
    for (const { name, node } of this.selects) {
      const counts = countsOf(items, filters, name);
      const text = (value) => {
        if (value === "") return labels[name];
        const words = name === "te" || name === "icm" ? `${name.toUpperCase()} ${MEANINGS[value] ?? value}` : name === "finding" ? ({ any: "with findings", none: "no finding" }[value] ?? value) : name === "reached" ? `reached ${value}` : value;
        return `${words} (${counts[value] ?? 0})`;
      };
      const values = ["", ...this.valuesOf(name)];
      if (String(values) !== node.values) {
        node.values = String(values);
        node.replaceChildren(...values.map((value) => makeElement("option", { value })));
      }
      for (const option of node.options) update(option, "text", text(option.value));
      if (node.value !== filters[name]) node.value = filters[name];
      node.classList.toggle("ee-on", filters[name] !== "");
    }
  }
  valuesOf(name) {
    const { items } = this.store;
    const found = new Set([this.store.filters[name]]);
    for (const { row, code } of items) {
      if (name === "code") found.add(code);
      else if (!row) continue;
      else if (name === "reached") for (const [phase] of row.phases) found.add(phase);
      else if (name === "finding") for (const [check] of row.findings) found.add(check);
      else found.add(row.grade?.[GRADE_OF[name]] ?? "-");
    }
    found.delete("");
    if (name === "code") return [...found];
    if (name === "finding") return ["any", "none", ...[...found].filter((check) => check !== "any" && check !== "none").sort()];
    if (name === "reached") return ORDER.filter((phase) => found.has(phase));
    return ["A", "B", "C", "NA", "-"].filter((grade) => found.has(grade));
  }

  // -- the list --

  makeList() {
    this.axis = makeElement("span", { class: "ee-band ee-axis" });
    const head = (text, extra, label) => makeElement("span", { class: `ee-cell ${extra}`, role: "columnheader", text, "aria-label": label ?? null });
    const bands = head("", "ee-bands", "phases by hours");
    bands.append(this.axis);
    const header = makeElement("div", { class: "ee-row ee-header", role: "row", "aria-rowindex": "1" }, head("", "ee-picture", "middle frame"), head("video", "ee-name"),
      bands, head("TE ICM", "ee-grade"), head("findings", "ee-badges"));
    this.spacer = makeElement("div", { class: "ee-spacer", role: "rowgroup" });
    this.scroller = makeElement("div", { class: "ee-scroll", tabindex: "0", role: "grid", "aria-label": "Videos", onscroll: () => this.drawRows() },
      makeElement("div", { class: "ee-top", role: "rowgroup" }, header), this.spacer);
    this.scroller.addEventListener("click", ({ target }) => {
      const line = target.closest("[data-video]");
      if (!line) return;
      this.moveTo(this.store.shown.findIndex(({ name }) => name === line.dataset.video), false);
      this.choose();
    });
    this.scroller.addEventListener("keydown", (event) => this.handleListKey(event));
    return this.scroller;
  }

  // -- the raster: a row per video, as high as fits, in the order of the list --

  makeRaster() {
    this.rasterAxis = makeElement("span", { class: "ee-band ee-axis" });
    this.rasterText = makeElement("p", { class: "ee-quiet ee-pointed", role: "status" });
    this.canvas = makeElement("canvas", { "aria-hidden": "true" });
    this.rasterNames = makeElement("div", { class: "ee-raster-names", "aria-hidden": "true" }); // not in the canvas: their colours follow the theme
    this.pointed = makeElement("div", { class: "ee-pointer", role: "option", id: `${this.id}-pointed`, "aria-selected": "false" });
    this.rasterBox = makeElement("div", { class: "ee-raster-rows", tabindex: "0", role: "listbox", "aria-label": "Phases of the videos", "aria-activedescendant": `${this.id}-pointed` }, this.rasterNames, this.canvas, this.pointed);
    this.rasterBox.addEventListener("pointermove", (event) => this.point(this.rasterIndex(event), event));
    this.rasterBox.addEventListener("pointerleave", () => this.point(this.active));
    this.rasterBox.addEventListener("click", (event) => {
      this.moveTo(this.rasterIndex(event), false);
      this.choose();
    });
    this.rasterBox.addEventListener("keydown", (event) => this.handleListKey(event));
    return makeElement("div", { class: "ee-raster", hidden: true }, this.rasterText, makeElement("div", { class: "ee-raster-head" }, this.rasterAxis), this.rasterBox);
  }
  toggleRaster() {
    this.list.hidden = this.raster.hidden;
    this.raster.hidden = !this.raster.hidden;
    update(this.overview, "aria-pressed", String(!this.raster.hidden));
    this.drawRows();
    this.reveal(this.active);
  }
  rasterIndex({ clientY }) {
    const at = Math.floor((clientY - this.canvas.getBoundingClientRect().top) / this.rowHeight);
    return Math.max(0, Math.min(this.store.shown.length - 1, at));
  }
  /** Draw all rows, once per animation frame. */
  drawRaster() {
    this.rasterFrame ??= requestAnimationFrame(() => {
      this.rasterFrame = null;
      if (this.raster.hidden) return;
      const { shown, limit } = this.store; // no limit: no video has times
      const { clientWidth: width, clientHeight: height } = this.rasterBox;
      this.rowHeight = rasterRow((height || 400) - 2 * RASTER_EDGE, shown.length);
      this.rowGap = this.rowHeight > 7 ? 2 : 0;
      const scale = Math.min(2, window.devicePixelRatio || 1);
      const [wide, high] = [Math.max(1, width - RASTER_NAMES), Math.max(1, shown.length * this.rowHeight)];
      Object.assign(this.canvas, { width: Math.round(wide * scale), height: Math.round(high * scale) });
      Object.assign(this.canvas.style, { width: `${wide}px`, height: `${high}px` });
      const context = this.canvas.getContext("2d");
      context.scale(scale, scale);
      const gap = this.rowGap;
      shown.forEach(({ row }, at) => {
        for (const { name, left, width: part } of row ? bandParts(row, limit) : []) {
          context.fillStyle = PHASES[name];
          context.fillRect((wide * left) / 100, at * this.rowHeight, Math.max(0.5, (wide * part) / 100), this.rowHeight - gap);
        }
      });
      const place = (style, ...rest) => Object.assign(makeElement("span", ...rest), { style });
      const step = Math.ceil(13 / this.rowHeight); // rows per name
      this.rasterNames.replaceChildren(
        ...Object.values(DAYS).filter((hour) => hour < limit).map((hour) => place(`left: ${RASTER_NAMES + (wide * hour) / limit}px; height: ${high}px`, { class: "ee-tick" })),
        ...shown.filter((_, at) => at % step === 0).map(({ name }, i) => place(`top: ${(i * step + 0.5) * this.rowHeight - gap / 2}px`, { text: name })),
      );
      update(this.rasterBox, "data-rows", String(shown.length));
      this.point(this.active);
    });
  }
  /** Mark a row of the raster, and name its video and, at the pointer, its phase. */
  point(at, event = null) {
    const item = this.store.shown[at];
    this.pointed.hidden = !item;
    const parts = item ? [item.name, ...this.phaseAt(item, event)] : [];
    const text = item ? parts.join(" \u00b7 ") : "Point at a row to see which video it is; a click opens it.";
    update(this.rasterText, "text", text);
    update(this.pointed, "aria-label", item?.name ?? "no video");
    update(this.pointed, "aria-selected", String(Boolean(item) && item === this.store.chosen));
    if (item) Object.assign(this.pointed.style, { top: `${RASTER_EDGE + at * this.rowHeight - 1}px`, height: `${this.rowHeight - this.rowGap + 2}px` });
  }
  phaseAt({ row }, event) {
    if (!event || !row) return row ? [lastPhase(row) && `reached ${lastPhase(row)}`].filter(Boolean) : [];
    const { left, width } = this.canvas.getBoundingClientRect();
    const percent = (100 * (event.clientX - left)) / Math.max(1, width);
    return bandParts(row, this.store.limit).filter((part) => part.left <= percent && percent <= part.left + part.width).slice(0, 1).map(({ title }) => title);
  }

  showRows(scroll = false) {
    this.showFilters();
    this.showAxis();
    this.spacer.style.height = `${this.store.shown.length * ROW}px`;
    this.browser?.style.setProperty("--ee-rows", String(this.store.items.length)); // its height does not follow the filter
    update(this.scroller, "aria-rowcount", String(this.store.shown.length + 1));
    for (const line of this.pool.values()) line.drawn = null;
    this.active = Math.min(this.active, this.store.shown.length - 1);
    if (scroll) this.reveal(this.store.shown.indexOf(this.store.chosen), 0);
    this.drawRows();
    this.labelRoot();
    this.showToolbar();
  }
  showAxis() {
    const { limit = null } = this.store;
    if (this.axis.limit === limit) return;
    this.axis.limit = limit;
    for (const axis of [this.axis, this.rasterAxis]) axis.replaceChildren(...makeDays(limit ?? 0));
  }
  /** Scroll so that a row is visible; `otherwise` is the position if there is no such row. */
  reveal(index, otherwise = null) {
    if (!this.raster.hidden && index >= 0) {
      const [box, top] = [this.rasterBox, index * (this.rowHeight ?? 2)];
      box.scrollTop = Math.max(top + 20 - box.clientHeight, Math.min(box.scrollTop, Math.max(0, top - 20)));
    }
    const { scroller } = this;
    if (index < 0) {
      if (otherwise !== null) scroller.scrollTop = otherwise;
      return;
    }
    const top = index * ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW + HEADER > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW + HEADER - scroller.clientHeight;
  }
  /** Draw the rows in view, and request their thumbnails. */
  drawRows() {
    if (!this.raster.hidden) return this.drawRaster();
    const { shown } = this.store;
    const { scrollTop, clientHeight } = this.scroller;
    const height = clientHeight || 400;
    const { from, to } = shownRows(scrollTop, height, ROW, shown.length);
    const free = [...this.pool.keys()].filter((at) => at < from || at >= to);
    for (let at = from; at < to; at++) {
      let line = this.pool.get(at);
      if (!line) {
        const old = free.pop();
        line = old === undefined ? this.makeRow() : this.pool.get(old);
        if (old !== undefined) this.pool.delete(old);
        this.pool.set(at, line);
      }
      this.drawRow(line, at, shown[at]);
    }
    for (const at of free) {
      this.forget(this.pool.get(at));
      this.pool.get(at).node.remove();
      this.pool.delete(at);
    }
    update(this.scroller, "aria-activedescendant", this.pool.has(this.active) ? this.pool.get(this.active).node.id : "");
    const inView = shown.slice(from, to);
    const around = [...shown.slice(to, to + 12), ...shown.slice(Math.max(0, from - 12), from)];
    this.store.requestThumbnails([...coarseToFine(inView.length).map((i) => inView[i]), ...around]);
  }
  makeRow() {
    const cell = (name) => makeElement("span", { class: `ee-cell ${name}`, role: "gridcell" });
    const parts = { picture: cell("ee-picture"), name: cell("ee-name"), band: cell("ee-bands"), grade: cell("ee-grade"), badges: cell("ee-badges") };
    const node = makeElement("div", { class: "ee-row", role: "row", id: `${this.id}-${(this.made = (this.made ?? 0) + 1)}` }, ...Object.values(parts));
    this.spacer.append(node);
    return { node, parts, drawn: null };
  }
  forget(line) {
    if (line.url) URL.revokeObjectURL(line.url);
    line.url = line.item = null;
  }
  drawRow(line, at, item) {
    const { node, parts } = line;
    const { row } = item;
    const chosen = item === this.store.chosen;
    if (line.drawn !== item) {
      line.drawn = item;
      node.dataset.video = item.name;
      const siblings = this.store.siblings.get(item.code).length - 1;
      parts.name.replaceChildren(makeElement("strong", { text: item.name }), makeElement("span", { class: "ee-quiet", text: [lastPhase(row), siblings ? plural(siblings, "sibling") : ""].filter(Boolean).join(" \u00b7 ") || "\u00a0" }));
      if (item.marked) parts.name.firstChild.append(makeElement("span", { class: "ee-star", text: " \u2605", title: plural(this.store.notes[item.name].length, "bookmark") }));
      parts.band.replaceChildren(row ? this.makeBand(row) : "");
      parts.grade.textContent = row?.grade ? row.grade.map((grade) => (grade === "NA" ? "\u2013" : grade)).join(" ") : "";
      parts.grade.title = row?.grade ? `TE ${row.grade[0]}, ICM ${row.grade[1]}` : "no grade";
      this.drawBadges(parts.badges, row);
    }
    if (line.item !== item || !line.url) this.drawThumbnail(line, item);
    node.style.transform = `translateY(${at * ROW}px)`;
    update(node, "aria-rowindex", String(at + 2));
    update(node, "aria-selected", String(chosen));
    node.classList.toggle("ee-active", at === this.active);
  }
  makeBand(row) {
    const timed = row.phases.some(([, , , from]) => from !== null);
    const band = makeElement("span", { class: timed || row.hidden ? "ee-band" : "ee-band ee-untimed", title: timed ? null : row.hidden ? "hidden until you finish this video" : row.phases.length ? "by run: no times in this copy" : "not annotated" });
    if (timed || row.hidden) for (const hour of Object.values(DAYS)) if (hour < this.store.limit) band.append(Object.assign(makeElement("span", { class: "ee-tick" }), { style: `left: ${(100 * hour) / this.store.limit}%` }));
    for (const { name, left, width, title } of bandParts(row, this.store.limit)) {
      const part = makeElement("span", { class: "ee-part", title }, makeElement("span", { text: name }));
      Object.assign(part.style, { left: `${left}%`, width: `${width}%`, background: PHASES[name], color: ink(PHASES[name]) });
      band.append(part);
    }
    return band;
  }
  drawBadges(cell, row) {
    cell.replaceChildren();
    if (!row) return;
    for (const severity of Object.keys(SIGNS)) {
      const some = row.findings.filter(([, each]) => each === severity);
      if (!some.length) continue;
      const title = some.slice(0, 8).map(([check, , plane, runs]) => [check, plane, runsText(runs)].filter(Boolean).join(", ")).join("\n");
      cell.append(makeElement("span", { class: `ee-badge ee-${severity}`, role: "img", "aria-label": plural(some.length, severity), title, text: `${SIGNS[severity]}\u2009${some.length}` }));
    }
  }
  drawThumbnail(line, item) {
    const bytes = this.store.thumbnails.get(item.at);
    this.forget(line);
    line.item = item;
    const { picture } = line.parts;
    if (bytes?.length) {
      line.url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
      line.image ??= makeElement("img", { alt: "", width: "44", height: "44", decoding: "async", draggable: "false" });
      line.image.src = line.url;
      line.image.alt = `${item.name}, middle frame`;
      picture.replaceChildren(line.image);
    } else {
      const waiting = Boolean(item.row?.waiting);
      const title = waiting ? "waiting until the archive is read this far" : bytes ? "no readable frame" : "";
      picture.replaceChildren(makeElement("span", { class: waiting ? "ee-blank ee-waiting" : "ee-blank", title, text: waiting ? "waiting" : bytes ? "\u2013" : "" }));
    }
  }
  showThumbnail(at) {
    for (const line of this.pool.values()) if (line.drawn?.at === at) this.drawThumbnail(line, line.drawn);
  }

  // -- keys --

  handleListKey(event) {
    const action = listAction(event);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    if (action[0] === "choose") return this.choose();
    const last = this.store.shown.length - 1;
    const here = this.active < 0 ? this.store.shown.indexOf(this.store.chosen) : this.active;
    this.moveTo(Math.max(0, Math.min(last, here + action[1])));
  }
  handleKey(event) {
    const action = keyAction(event);
    const { target } = event;
    const typing = target.matches("textarea, select, input:not([type=range])") && !(target === this.search && event.key.startsWith("Page"));
    if (!action || typing) return;
    event.preventDefault();
    event.stopPropagation();
    this.open(action[1]);
  }
  moveTo(index, scroll = true) {
    this.active = index;
    if (scroll) this.reveal(index);
    this.drawRows();
  }
  choose() {
    const item = this.store.shown[this.active < 0 ? 0 : this.active];
    if (item) this.store.set({ value: item.name });
  }
  open(step, wanted) {
    if (this.store.open(step, wanted)) return;
    this.say(wanted ? (this.store.model.get("blind") ? "All later videos in the list are finished." : "No later video in the list is without tB.") : step > 0 ? "This is the last video of the list." : "This is the first video of the list.");
  }
  /** Keep the focus, if it is in the player, which another one is about to replace: the keys work on. */
  keepFocus() {
    const old = document.activeElement?.closest(".embryo-player");
    if (!this.root?.contains(old)) return;
    this.root.focus({ preventScroll: true });
    this.awaitPlayer.disconnect();
    this.awaitPlayer = new MutationObserver(() => {
      const player = this.root.querySelector(".embryo-player");
      if (player && player !== old && document.activeElement === this.root) player.focus({ preventScroll: true });
      if (document.activeElement !== this.root) this.awaitPlayer.disconnect();
    });
    this.awaitPlayer.observe(this.root, { childList: true, subtree: true });
  }
  say(text) {
    if (this.said) update(this.said, "text", text);
  }

  // -- the chosen video --

  showChosen() {
    const { store } = this;
    const item = store.chosen;
    const problem = store.model.get("problem");
    this.details.hidden = !item;
    this.welcome.hidden = Boolean(item) && !problem;
    update(this.welcome.firstChild, "text", problem || "Choose a video: click a row, or press Enter on it. N and P open the next and the previous one.");
    this.active = item ? store.shown.indexOf(item) : this.active;
    if (item) this.reveal(this.active);
    this.drawRows();
    this.labelRoot();
    if (item) this.makeDetails(item);
  }
  makeDetails(item) {
    const siblings = this.store.siblings.get(item.code);
    if (this.detailed !== item || this.isStale()) {
      if (this.detailed !== item) this.notesBox = this.makeNotes();
      const writing = this.notesBox.contains(document.activeElement) ? document.activeElement : null;
      this.detailed = item;
      this.detailedRows = siblings.map(({ row }) => row);
      const button = (text, label, act) => makeElement("button", { type: "button", class: "ee-button", text, title: label, "aria-label": label, onclick: act });
      const { store } = this;
      this.previous = button("\u2190 P", "Previous video", () => this.open(-1));
      this.next = button("N \u2192", "Next video", () => this.open(1));
      this.together = button(`${plural(siblings.length, "embryo")} of ${item.code}`, "Siblings side by side", () => store.set({ together: !store.model.get("together") }));
      const hidden = siblings.some(({ row }) => row?.hidden);
      this.together.disabled = siblings.length < 2 || hidden;
      if (hidden) this.together.title = "Siblings side by side, when all of them are finished";
      this.align = makeElement("select", { class: "ee-select", "aria-label": "Siblings are aligned", onchange: () => store.set({ align: this.align.value }) },
        ...alignments(siblings.map(({ row }) => row)).map(([value, text]) => makeElement("option", { value, text })));
      this.marking = button("Mark phases", "Mark where phases begin", () => store.set({ marking: !store.model.get("marking") }));
      this.without = store.model.get("blind")
        ? button("Next to read", "Next video that is not finished", () => this.open(1, ({ row }) => row?.hidden))
        : button("Next without tB", "Next video without tB", () => this.open(1, ({ row }) => row && !row.phases.some(([name]) => name === "tB")));
      this.said = makeElement("p", { class: "ee-said ee-quiet", role: "status" });
      this.details.replaceChildren(
        makeElement("div", { class: "ee-line ee-tools" }, makeElement("h3", { text: item.name }), this.previous, this.next, this.together, this.align, this.marking, this.without),
        this.said,
        makeElement("div", { class: "ee-facts" }, this.makeTimes(item), makeElement("div", {}, this.makeFindings(item), this.notesBox)),
      );
      writing?.focus({ preventScroll: true });
    }
    this.showToolbar();
    this.showNotes();
  }
  showToolbar() {
    if (!this.detailed || !this.together) return;
    const at = this.store.shown.indexOf(this.detailed);
    this.previous.disabled = at === 0;
    this.next.disabled = at === this.store.shown.length - 1;
    const { model } = this.store;
    const together = model.get("together") && !this.together.disabled;
    update(this.together, "aria-pressed", String(together));
    this.align.hidden = !together;
    this.marking.hidden = together || model.get("blind"); // one video is marked at a time; blind reading is marking
    update(this.marking, "aria-pressed", String(model.get("marking")));
    const align = model.get("align");
    this.align.value = [...this.align.options].some(({ value }) => value === align) ? align : "hours";
    if (this.isStale()) this.makeDetails(this.detailed);
  }
  /** Return whether the video in the details, or a sibling of it, has a newer description. */
  isStale() {
    return this.store.siblings.get(this.detailed.code).some(({ row }, i) => row !== this.detailedRows[i]);
  }
  makeTimes({ row }) {
    if (!row) return makeElement("p", { class: "ee-quiet", text: "reading ..." });
    const hour = (value) => (value === undefined ? "\u2013" : value.toFixed(1));
    const line = (name, value, title) => makeLine(name, hour(value), title);
    const seen = new Set();
    const firsts = row.phases.filter(([name]) => !seen.has(name) && seen.add(name));
    if (row.phases.length && !row.hours) return makeElement("div", { class: "ee-tables" }, makeTable("Onsets", "run", firsts.map(([name, first]) => makeLine(name, String(first), "no times in this copy"))), ...makeProblems(row));
    const onsets = firsts.map(([name, first]) => line(name, row.times[name], `${name} begins at run ${first}`));
    const meanings = { cc2: "t3 \u2212 t2", s2: "t4 \u2212 t3", cc3: "t5 \u2212 t3", s3: "t8 \u2212 t5" };
    const spans = intervalsOf(row.times);
    const intervals = Object.entries(meanings).map(([name, text]) => line(name, spans[name], text));
    const none = row.phases.length ? [] : [makeElement("p", { class: "ee-quiet", text: row.hidden ? "hidden until you finish this video" : "not annotated" })];
    return makeElement("div", { class: "ee-tables" }, ...none, ...(onsets.length ? [makeTable("Onsets", "hpi", onsets), makeTable("Intervals", "hours", intervals)] : []), ...makeProblems(row));
  }
  makeFindings({ row }) {
    const heading = makeElement("h4", { text: row?.hidden ? "Findings are hidden" : row ? (row.count ? plural(row.count, "finding") : this.store.model.get("reported") ? "No findings" : "Not checked") : "" });
    const items = (row?.findings ?? []).map(([check, severity, plane, runs, message]) => makeElement("li", {},
      makeElement("span", { class: `ee-badge ee-${severity}`, role: "img", "aria-label": severity, text: SIGNS[severity] ?? "" }),
      makeElement("span", {}, makeElement("strong", { text: check }), ` ${[plane, runsText(runs), message].filter(Boolean).join(" \u00b7 ")}`)));
    if (row && row.count > row.findings.length) items.push(makeElement("li", { class: "ee-quiet", text: `and ${row.count - row.findings.length} more` }));
    return makeElement("div", { class: "ee-findings" }, heading, makeElement("ul", {}, ...items));
  }
  makeNotes() {
    this.noteLines = new Map(); // by run
    this.notesHead = makeElement("h4", {});
    this.notesList = makeElement("ul", {});
    this.getNotes = makeElement("button", { type: "button", class: "ee-button", text: "Download", title: "download all bookmarks as a table", "aria-label": "Download bookmarks", onclick: () => this.download() });
    this.notesStatus = makeElement("p", { class: "ee-quiet ee-status", role: "status" });
    const mark = makeElement("button", { type: "button", class: "ee-button", text: "\u2605 Bookmark this frame", onclick: () => this.bookmark() });
    return makeElement("div", { class: "ee-notes" }, this.notesHead, this.notesList, makeElement("div", { class: "ee-line" }, mark, this.getNotes), this.notesStatus);
  }
  makeNoteLine(video, run) {
    const go = makeElement("button", { type: "button", class: "ee-link", title: "go to this frame", onclick: () => this.store.model.send({ kind: "seek", video, run }) });
    const field = makeElement("input", { type: "text", class: "ee-comment", maxlength: "500", "aria-label": `Comment on run ${run}`, placeholder: "comment",
      onchange: () => this.note(run, field.value, video), onblur: () => this.showNotes(), onkeydown: ({ key }) => key === "Enter" && field.blur() });
    const remove = makeElement("button", { type: "button", class: "ee-button", text: "\u2715", title: "remove the bookmark", "aria-label": `Remove the bookmark of run ${run}`, onclick: () => this.note(run, null, video) });
    return { go, field, node: makeElement("li", {}, go, field, remove) };
  }
  /** Update the bookmarks of the chosen video in place: a button stays where it is pressed, and a field where one is writing. */
  showNotes() {
    const { store, detailed: item } = this;
    if (!item || !this.notesBox) return;
    const notes = store.notes[item.name] ?? [];
    for (const [run, { node }] of this.noteLines) {
      if (notes.some(([at]) => at === run)) continue;
      this.noteLines.delete(run);
      node.remove();
    }
    notes.forEach(([run, hour, comment], i) => {
      if (!this.noteLines.has(run)) this.noteLines.set(run, this.makeNoteLine(item.name, run));
      const { go, field, node } = this.noteLines.get(run);
      update(go, "text", `run ${run}${hour === null ? "" : ` \u00b7 ${hour.toFixed(1)} h`}`);
      if (document.activeElement !== field && field.value !== comment) field.value = comment;
      if (this.notesList.children[i] !== node) this.notesList.insertBefore(node, this.notesList.children[i] ?? null);
    });
    update(this.notesHead, "text", notes.length ? plural(notes.length, "bookmark") : "Bookmarks");
    update(this.notesStatus, "text", store.status);
    this.getNotes.disabled = !Object.keys(store.notes).length;
    const awaited = this.noteLines.get(this.awaited);
    if (!awaited) return;
    awaited.field.focus({ preventScroll: true });
    this.awaited = null;
  }
  /** Bookmark the frame that the player shows, and let the user write a comment. */
  bookmark() {
    const pane = this.root?.querySelector(`[data-pane-video="${CSS.escape(this.detailed.name)}"]`);
    if (!pane?.dataset.paneRun) return this.say("The player shows no frame of this video yet.");
    const run = Number(pane.dataset.paneRun);
    const here = (this.store.notes[this.detailed.name] ?? []).find(([at]) => at === run);
    this.awaited = run;
    if (here) this.showNotes();
    else this.note(run, "");
  }
  note(run, comment, video = this.detailed.name) {
    this.store.note(video, run, comment);
  }
  download() {
    const rows = Object.entries(this.store.notes).flatMap(([video, notes]) => notes.map(([run, hour, comment]) => [video, run, hour, comment]));
    const url = URL.createObjectURL(new Blob([toCsv([["video", "run", "hours", "comment"], ...rows])], { type: "text/csv" }));
    const link = makeElement("a", { href: url, download: "bookmarks.csv" });
    this.host.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
  remove() {
    this.resizes.disconnect();
    this.awaitPlayer.disconnect();
    clearTimeout(this.choicesTimer);
    cancelAnimationFrame(this.rasterFrame);
    this.root?.removeEventListener("keydown", this.onKey);
    for (const line of this.pool.values()) this.forget(line);
    this.browser.remove();
    this.details.remove();
    this.welcome.remove();
  }
}

/** anywidget calls this function once per explorer; all its views share one store. */
export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = new Store(model);
      return () => store.dispose();
    },
    render({ el }) {
      const view = new View(store, el);
      store.views.add(view);
      return () => {
        store.views.delete(view);
        view.remove();
      };
    },
  };
};
