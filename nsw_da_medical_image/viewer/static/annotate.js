// Annotating in the player. This file follows player.js in one module; its first part repeats the rules of dataset_util.annotate.

// --- pure helpers: no DOM, no state; tested by `node --test`, and beside the Python functions of the same names -----------

export const ORDER = ["tPB2", "tPNa", "tPNf", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9+", "tM", "tSB", "tB", "tEB", "tHB"];

/** Return the onsets {phase: run} as [[phase, run], ...] in the order of the runs. */
export function inOrder(onsets) {
  return Object.entries(onsets).sort(([a, x], [b, y]) => x - y || ORDER.indexOf(a) - ORDER.indexOf(b));
}

/** Return the rows [[phase, first, last], ...]: each phase ends one run before the next one begins, the last at the run `last`. */
export function rowsOf(onsets, last) {
  const sorted = inOrder(onsets);
  return sorted.map(([phase, first], i) => [phase, first, Math.max(first, i + 1 < sorted.length ? sorted[i + 1][1] - 1 : last)]);
}

/** Return the text of the annotation file of a video whose last run is `last`. */
export function phasesCsv(onsets, last) {
  return rowsOf(onsets, last).map((row) => `${row.join(",")}\n`).join("");
}

/** Return a sentence for each phase that begins before an earlier phase. */
export function outOfOrder(onsets) {
  const sorted = inOrder(onsets);
  return sorted.slice(1).flatMap(([after, second], i) => {
    const [before, first] = sorted[i];
    return ORDER.indexOf(after) < ORDER.indexOf(before) ? [`${after} begins at RUN ${second}, after ${before} (RUN ${first})`] : [];
  });
}

/** Return {onsets, done, undone} after a list of changes: the onsets, and the changes that can be undone and redone. */
export function replay(changes) {
  const state = { onsets: {}, done: [], undone: [] };
  changes.forEach((change, i) => {
    for (const [phase, { run }] of Object.entries(change.phases)) {
      delete state.onsets[phase];
      if (run !== null) state.onsets[phase] = run;
    }
    if (change.do === "undo") state.undone.push(state.done.pop());
    else if (change.do === "redo") state.done.push(state.undone.pop());
    else if (change.do !== "finish" && !(i === 0 && (change.do === "start" || change.do === "file"))) {
      state.done.push(change);
      state.undone = [];
    }
  });
  return state;
}

/** Return {phase: new run, or null for none} of the phases that "set", "remove", "undo" or "redo" changes. */
export function runsAfter({ onsets, done, undone }, action, phase, run) {
  const taken = (change, key) => Object.fromEntries(Object.entries(change?.phases ?? {}).map(([name, values]) => [name, values[key]]));
  if (action === "set" && onsets[phase] !== run) {
    const replaced = Object.entries(onsets).filter(([other, at]) => at === run && other !== phase);
    return { ...Object.fromEntries(replaced.map(([other]) => [other, null])), [phase]: run };
  }
  if (action === "remove" && phase in onsets) return { [phase]: null };
  if (action === "undo") return taken(done.at(-1), "was");
  if (action === "redo") return taken(undone.at(-1), "run");
  return {};
}

/** Return the change that sets `runs`, with the previous runs, and the published ones unless `published` is null. */
export function makeChange({ onsets }, action, runs, published) {
  const names = Object.keys(runs).sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  const values = (phase) => ({ run: runs[phase], was: onsets[phase] ?? null, ...(published ? { published: published[phase] ?? null } : {}) });
  return { do: action, phases: Object.fromEntries(names.map((phase) => [phase, values(phase)])) };
}

/** Return the phases in which two tracks differ, as {phase: run of the first, or null}. */
export function difference(mine, theirs) {
  const names = [...new Set([...Object.keys(mine), ...Object.keys(theirs)])];
  return Object.fromEntries(names.filter((phase) => mine[phase] !== theirs[phase]).map((phase) => [phase, mine[phase] ?? null]));
}

/** Return the text of the history file. */
export function recordJson({ video, reader, last, start, blind, changes }) {
  const finished = changes.find((change) => change.do === "finish")?.at ?? null;
  return `${JSON.stringify({ video, reader, last, start, blind, finished, changes }, null, 1)}\n`;
}

/** Return the difference of two runs in hours, "+0.5 h", or in runs if no time was recorded; "" if there is none to compare with. */
export function differenceText(run, other, hours) {
  if (run === undefined || other === undefined) return "";
  const [a, b] = [hours.get(run), hours.get(other)];
  const known = a !== undefined && b !== undefined;
  const by = known ? Number((a - b).toFixed(1)) : run - other;
  const sign = by > 0 ? "+" : by < 0 ? "\u2212" : "\u00b1";
  return known ? `${sign}${Math.abs(by).toFixed(1)} h` : `${sign}${Math.abs(by)} ${Math.abs(by) === 1 ? "run" : "runs"}`;
}

/** Return the phase that is usually marked next: the one after `phase`, or `phase` if it is the last. */
export function nextPhase(phase) {
  return ORDER[Math.min(ORDER.length - 1, ORDER.indexOf(phase) + 1)];
}

// --- the track: one per player ------------------------------------------------------------------------------------------

/** Return the date and time (UTC), as the kernel writes them. */
function timestamp() {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

const PATIENCE = 4000; // milliseconds without an answer, after which the reader is warned

/** The reader's track. The kernel saves each change; until it answers, the change is pending. A page keeps it in the browser. */
export class Annotator {
  constructor(engine) {
    Object.assign(this, { engine, model: engine.model, views: new Set(), pending: [], count: 0, picked: null });
    this.session = Math.random().toString(36).slice(2, 12);
    this.store = this.state.local ? new PageStore(this.state) : null;
    this.updateSeries();
  }
  get state() {
    return this.store?.state ?? this.model.get("_track");
  }
  /** All changes, including those that are not saved yet. */
  get changes() {
    const { state, pending } = this;
    return pending.reduce((changes, { at, action, phase, run }) => {
      const now = replay(changes);
      const runs = runsAfter(now, action, phase, run);
      return Object.keys(runs).length ? [...changes, { at, reader: state.reader, ...makeChange(now, action, runs, state.published) }] : changes;
    }, state.changes);
  }
  get onsets() {
    return replay(this.changes).onsets;
  }
  get finished() {
    return this.state.changes.some((change) => change.do === "finish");
  }
  /** Whether the reader must not see the published phases. */
  get hidden() {
    return this.state.reference === null;
  }
  get reference() {
    return Object.fromEntries((this.state.reference?.rows ?? []).map(([phase, , first]) => [phase, first]).reverse());
  }
  /** Make a change: "set", "remove", "undo", "redo", "finish", "save" again, or keep "mine" or "theirs". Return whether anything changes. */
  perform(action, phase = null, run = null) {
    const changes = ["set", "remove", "undo", "redo"].includes(action);
    if (changes && (this.state.conflict || !Object.keys(runsAfter(replay(this.changes), action, phase, run)).length)) return false;
    if (this.store) this.store.perform(action, phase, run);
    else {
      const id = ++this.count;
      this.pending.push({ id, at: timestamp(), action, phase, run });
      this.sentAt = performance.now();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.update(), PATIENCE);
      try {
        this.model.send({ kind: "annotate", session: this.session, id, action, phase, run });
      } catch {
        this.sentAt = -Infinity; // the kernel is gone
      }
    }
    this.update();
    return true;
  }
  /** Follow the kernel, which has saved the changes up to the id in `acks`. */
  follow() {
    const done = this.state.acks?.[this.session] ?? 0;
    this.pending = this.pending.filter(({ id }) => id > done);
    this.update();
  }
  update() {
    this.updateSeries();
    for (const view of this.views) view.update();
  }
  /** Let the text and the keys of the player use the published phases, or the reader's own ones while those are hidden. */
  updateSeries() {
    const { state, engine } = this;
    const meaning = Object.fromEntries(state.phases);
    const own = () => rowsOf(this.onsets, state.last).map(([phase, first, last]) => [phase, meaning[phase], first, last]);
    const [video] = engine.series.videos;
    const phases = state.reference?.rows ?? own();
    if (JSON.stringify(phases) === JSON.stringify(video.phases)) return;
    video.phases = phases;
    if (engine.views.size) engine.paint();
  }
  /** Describe in words whether the changes are saved. */
  get status() {
    const { state, pending } = this;
    if (state.conflict) return "not saved: changed elsewhere";
    if (state.problem) return `not saved: ${state.problem}`;
    if (pending.length) return performance.now() - this.sentAt >= PATIENCE ? "not saved yet: no answer; keep this page open" : "saving";
    if (this.store) return this.store.kept ? "kept in this browser; download it" : "not kept if the page is closed; download it";
    return state.changes.some((change) => change.reader !== null) ? (state.folder ? `saved in ${state.folder}` : "not saved in a file: download it") : "nothing marked yet";
  }
}

/** The track of a page without a kernel, kept in the browser's storage, by the rules of dataset_util.annotate. */
class PageStore {
  constructor(state) {
    this.state = state;
    this.key = `embryo-player/${state.video}/${state.reader}`;
    this.kept = true;
    this.seen = this.read();
    const stored = this.parse(this.seen);
    if (!stored) return;
    const known = JSON.stringify(stored).startsWith(JSON.stringify(state.changes).slice(0, -1));
    if (known || !state.changes.length) this.state = { ...state, changes: stored };
    else if (JSON.stringify(state.changes).startsWith(JSON.stringify(stored).slice(0, -1))) return; // the page is newer
    else if (Object.keys(difference(...[state.changes, stored].map((changes) => replay(changes).onsets))).length) this.ask(stored);
  }
  read() {
    try {
      return localStorage.getItem(this.key);
    } catch {
      this.kept = false; // some browsers have no storage for files
      return null;
    }
  }
  parse(text) {
    try {
      const { changes } = JSON.parse(text);
      replay(changes);
      return changes;
    } catch {
      return null;
    }
  }
  ask(stored) {
    const [mine, theirs] = [this.state.changes, stored ?? []].map((changes) => replay(changes).onsets);
    this.state = { ...this.state, conflict: { mine, theirs, by: "" } };
  }
  perform(action, phase, run) {
    const { state } = this;
    if (action === "mine" || action === "theirs") return this.resolve(action);
    const now = replay(state.changes);
    const runs = action === "finish" ? (state.blind ? { ...now.onsets } : {}) : runsAfter(now, action, phase, run);
    if (action === "finish" ? state.changes.some((change) => change.do === "finish") : !Object.keys(runs).length) return;
    this.add(makeChange(now, action, runs, state.published));
  }
  add(change) {
    this.state = { ...this.state, changes: [...this.state.changes, { at: timestamp(), reader: this.state.reader, ...change }] };
    const stored = this.read();
    if (stored !== this.seen) return this.ask(this.parse(stored));
    this.write();
  }
  write() {
    try {
      this.seen = recordJson(this.state);
      localStorage.setItem(this.key, this.seen);
    } catch {
      this.kept = false;
    }
  }
  resolve(keep) {
    const { mine } = this.state.conflict;
    this.seen = this.read();
    const changes = this.parse(this.seen) ?? [];
    this.state = { ...this.state, conflict: null, changes };
    const now = replay(changes);
    const runs = difference(mine, now.onsets);
    if (keep === "mine" && Object.keys(runs).length) this.add(makeChange(now, "keep", runs, this.state.published));
  }
}

// --- the view: the panel at the side, and the two bands -------------------------------------------------------------------

/** Save a text as a file of the reader's computer. */
function download(name, text, type) {
  const link = makeElement("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const ANNOTATION_KEYS = [["Enter", "the picked phase begins here"], ["Delete", "remove its onset"], ["Ctrl+Z Ctrl+Y", "undo, redo"]];

export class AnnotationView {
  constructor(view) {
    Object.assign(this, { view, engine: view.engine, annotator: view.engine.annotator });
    this.annotator.picked ??= ORDER[0];
    this.panel = this.makePanel();
    this.bands = this.makeBands();
    this.annotator.views.add(this);
    this.update();
  }

  // -- parts --

  makePanel() {
    const { annotator } = this;
    const { state } = annotator;
    const button = (label, title, act, name = "ep-toggle") =>
      makeElement("button", { type: "button", class: name, text: label, "aria-label": label, title, onclick: (event) => this.afterClick(event, act) });
    this.mark = button("Begins here", "the picked phase begins with this run (Enter)", () => this.begin(), "ep-toggle ep-mark");
    this.unmark = button("Remove", "remove the onset of the picked phase (Delete)", () => annotator.perform("remove", annotator.picked));
    this.undo = button("Undo", "take back the last change (Ctrl+Z)", () => annotator.perform("undo"));
    this.redo = button("Redo", "repeat what was taken back (Ctrl+Y)", () => annotator.perform("redo"));
    this.finish = button("Finish", "the reading is finished", () => annotator.perform("finish"));
    this.again = button("Save again", "try to save again", () => annotator.perform("save"));
    const [csv, json] = ["csv", "json"].map((kind) => `${state.video}_phases.${kind}`);
    this.get = button("Download", `download ${csv}`, () => download(csv, phasesCsv(annotator.onsets, state.last), "text/csv"));
    this.getHistory = button("Download history", `download ${json}`, () => download(json, recordJson({ ...annotator.state, changes: annotator.changes }), "application/json"));
    const meaning = Object.fromEntries(state.phases);
    this.rows = ORDER.map((phase) => this.makeRow(phase, meaning[phase]));
    this.order = makeElement("p", { class: "ep-problem ep-order", role: "status" });
    this.saved = makeElement("p", { class: "ep-quiet ep-saved", role: "status" });
    this.conflict = makeElement("div", { class: "ep-conflict", role: "alert", hidden: true });
    this.who = makeElement("span", { class: "ep-quiet" });
    return makeElement(
      "div",
      { class: "ep-side ep-annotate" },
      makeElement("div", { class: "ep-title" }, makeElement("strong", { text: state.video }), this.who),
      makeElement("div", { class: "ep-marks", role: "group", "aria-label": "Annotation" }, this.mark, this.unmark, this.undo, this.redo),
      this.conflict,
      makeElement("ol", { class: "ep-phases", "aria-label": "Phases to mark" }, ...this.rows.map(({ item }) => item)),
      this.order,
      makeElement("div", { class: "ep-keep" }, this.saved, this.again, this.finish, this.get, this.getHistory),
    );
  }
  makeRow(phase, meaning) {
    const own = makeElement("span", { class: "ep-own-at" });
    const differs = makeElement("span", { class: "ep-differs" });
    const pick = makeElement(
      "button",
      {
        type: "button", class: "ep-phase", "data-phase": phase, "aria-pressed": "false", title: `${phase}, ${meaning}; a double click goes to its onset`,
        onclick: (event) => this.afterClick(event, () => this.pick(phase)), ondblclick: () => this.goTo(phase),
      },
      makeChip(phase), makeElement("b", { text: phase }), " ", own, " ", differs,
    );
    return { phase, pick, own, differs, item: makeElement("li", {}, pick) };
  }
  /** Make the bands: the track of the data set, and below it the reader's own with an edge to drag at each onset. */
  makeBands() {
    this.view.root.classList.add("ep-annotated");
    const band = (kind) => {
      const name = makeElement("span", { class: "ep-band-name" });
      const track = makeElement("div", { class: "ep-track" });
      return { name, track, node: makeElement("div", { class: `ep-band ${kind}`, "aria-hidden": "true" }, name, track) };
    };
    this.reference = band("ep-reference");
    this.own = band("ep-own");
    this.own.track.addEventListener("pointerdown", (event) => this.startDrag(event));
    this.own.track.addEventListener("click", (event) => this.wasDragged && event.stopPropagation());
    return [this.reference.node, this.own.node];
  }

  // -- actions --

  /** Act, and after a click with the pointer return the focus to the player, so that its keys work. */
  afterClick(event, act) {
    act();
    if (event.detail > 0) this.view.root.focus({ preventScroll: true });
  }
  pick(phase) {
    this.annotator.picked = phase;
    this.annotator.update();
    const list = this.panel.querySelector(".ep-phases");
    const [row, box] = [this.rows[ORDER.indexOf(phase)].pick, list].map((node) => node.getBoundingClientRect());
    list.scrollTop += Math.min(0, row.top - box.top) + Math.max(0, row.bottom - box.bottom); // only the list, not the page
  }
  /** Let the picked phase begin with the current run, and pick the next phase. */
  begin() {
    const { annotator, engine } = this;
    if (annotator.state.conflict) return;
    if (engine.playing) engine.set({ playing: false });
    annotator.perform("set", annotator.picked, engine.run);
    this.pick(nextPhase(annotator.picked));
  }
  goTo(phase) {
    const run = this.annotator.onsets[phase] ?? this.annotator.reference[phase];
    if (run !== undefined) this.engine.seek(run);
  }
  /** Return whether a key belongs to annotating; then act. */
  handleKey(event) {
    const { annotator } = this;
    const { key, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    if (altKey || target.matches("input[type=text], select")) return false;
    const letter = key.toLowerCase();
    const phase = target.closest("[data-phase]:not(.embryo-player)")?.dataset.phase;
    let act = null;
    if (ctrlKey || metaKey) {
      if (letter === "z") act = () => annotator.perform(shiftKey ? "redo" : "undo");
      if (letter === "y") act = () => annotator.perform("redo");
    } else if (key === "Enter" && (phase || !target.matches("button"))) {
      act = () => {
        if (phase) annotator.picked = phase;
        this.begin();
      };
    } else if (key === "Delete" || key === "Backspace") {
      act = () => annotator.perform("remove", phase ?? annotator.picked);
    }
    if (!act) return false;
    event.preventDefault();
    event.stopPropagation();
    act();
    return true;
  }
  /** Return the existing run at the pointer. */
  runAt({ clientX }) {
    const { runs } = this.engine.series;
    const { left, width } = this.own.track.getBoundingClientRect();
    const place = runs[0] + ((clientX - left) / width) * (runs.at(-1) - runs[0]);
    return runs[nearest(runs, Math.round(place))];
  }
  /** Drag an edge of the band between its neighbours. */
  startDrag(event) {
    const phase = event.target.dataset.edge;
    this.wasDragged = Boolean(phase);
    if (event.button !== 0 || !phase || this.annotator.state.conflict) return;
    event.preventDefault();
    this.view.root.focus({ preventScroll: true });
    const sorted = inOrder(this.annotator.onsets);
    const at = sorted.findIndex(([name]) => name === phase);
    const low = (sorted[at - 1]?.[1] ?? -Infinity) + 1;
    const high = (sorted[at + 1]?.[1] ?? Infinity) - 1;
    const runs = this.engine.series.runs.filter((run) => low <= run && run <= high);
    const band = this.own.track;
    if (this.engine.playing) this.engine.set({ playing: false });
    band.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const run = runs[nearest(runs, this.runAt(moved))];
      if (run === undefined || run === this.dragged?.run) return;
      this.dragged = { phase, run };
      this.engine.seek(run);
      this.update();
    };
    const end = (ended) => {
      for (const [name, act] of Object.entries({ pointermove: move, pointerup: end, pointercancel: end })) band.removeEventListener(name, act);
      const { dragged } = this;
      this.dragged = null;
      this.annotator.picked = phase;
      if (dragged && ended.type === "pointerup") this.annotator.perform("set", dragged.phase, dragged.run);
      this.update();
    };
    for (const [name, act] of Object.entries({ pointermove: move, pointerup: end, pointercancel: end })) band.addEventListener(name, act);
  }

  // -- updates --

  update() {
    const { annotator, engine, dragged } = this;
    const { state } = annotator;
    const { reference } = annotator;
    const hours = engine.series.videos[0].hours;
    const onsets = { ...annotator.onsets, ...(dragged ? { [dragged.phase]: dragged.run } : {}) };
    const history = replay(annotator.changes);
    for (const { phase, pick, own, differs } of this.rows) {
      const run = onsets[phase];
      const hour = hours.get(run);
      updateText(own, run === undefined ? "" : hour === undefined ? `run ${run}` : `${hour.toFixed(1)} h`);
      updateText(differs, differenceText(run, reference[phase], hours));
      updateAttribute(pick, "aria-pressed", String(phase === annotator.picked));
      const beside = reference[phase] === undefined ? "" : `, ${state.reference.name} at run ${reference[phase]}`;
      const seen = [phase, own.textContent, differs.textContent].filter(Boolean).join(" "); // the label begins with what is visible
      updateAttribute(pick, "aria-label", `${seen}${run === undefined ? ", not marked" : hour === undefined ? "" : `, run ${run}`}${beside}`);
    }
    updateText(this.who, `${state.reader}${annotator.hidden ? " \u00b7 blind" : ""}${annotator.finished ? " \u00b7 finished" : ""}`);
    updateText(this.order, outOfOrder(onsets).map((text) => `order: ${text}`).join("; "));
    this.order.hidden = !this.order.textContent;
    updateText(this.saved, annotator.status);
    this.again.hidden = !state.problem;
    this.finish.hidden = annotator.finished;
    this.undo.disabled = !history.done.length || Boolean(state.conflict);
    this.redo.disabled = !history.undone.length || Boolean(state.conflict);
    this.unmark.disabled = !(annotator.picked in onsets) || Boolean(state.conflict);
    this.mark.disabled = Boolean(state.conflict);
    updateAttribute(this.view.root, "data-annotation", state.conflict ? "conflict" : state.problem ? "problem" : annotator.pending.length ? "saving" : "saved");
    this.showConflict(state.conflict);
    this.drawBands(onsets);
  }
  showConflict(conflict) {
    const text = JSON.stringify(conflict);
    if (this.conflictShown === text) return;
    this.conflictShown = text;
    this.conflict.hidden = !conflict;
    if (!conflict) return this.conflict.replaceChildren();
    const { mine, theirs, by } = conflict;
    const run = (onsets, phase) => (phase in onsets ? `run ${onsets[phase]}` : "not marked");
    const differ = Object.keys(difference(mine, theirs)).sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
    const keep = (which, label) => makeElement("button", { type: "button", class: "ep-toggle", text: label, onclick: (event) => this.afterClick(event, () => this.annotator.perform(which)) });
    this.conflict.replaceChildren(
      makeElement("p", { text: `This annotation was changed elsewhere${by ? ` by ${by}` : ""} and is not overwritten. Which one do you keep?` }),
      makeElement("ul", {}, ...differ.map((phase) => makeElement("li", { text: `${phase}: mine ${run(mine, phase)}, theirs ${run(theirs, phase)}` }))),
      keep("mine", "Keep mine"), keep("theirs", "Keep theirs"),
    );
  }
  drawBands(onsets) {
    const { annotator, engine } = this;
    const { state } = annotator;
    const { runs } = engine.series;
    const [first, last] = [runs[0], runs.at(-1)];
    const draw = (band, rows) => {
      const text = JSON.stringify(rows);
      if (band.shown === text) return;
      band.shown = text;
      const parts = segments(rows, first, last).map(({ name, first: from, last: to, left, width }) => {
        const node = makeElement("span", { class: name ? "ep-part" : "ep-part ep-bare", title: `${name || "not marked"}: runs ${from} to ${to}`, ...(name ? { "data-band-phase": name } : {}) });
        Object.assign(node.style, { left: `${left}%`, width: `${width}%` });
        if (name) Object.assign(node.style, { background: PHASES[name], color: ink(PHASES[name]) });
        node.append(makeElement("span", { text: name }));
        return node;
      });
      band.replaceChildren(...parts);
      if (band !== this.own.track) return;
      for (const [phase, , from] of rows) {
        const edge = makeElement("span", { class: "ep-edge", "data-edge": phase, title: `drag: ${phase} begins at run ${from}` });
        edge.style.left = `${100 * Math.max(0, along(from - 0.5, first, last))}%`;
        band.append(edge);
      }
    };
    draw(this.own.track, rowsOf(onsets, state.last).map(([phase, from, to]) => [phase, "", from, to]));
    draw(this.reference.track, state.reference?.rows ?? []);
    updateText(this.reference.name, state.reference?.name ?? "");
    updateText(this.own.name, state.reader);
    this.reference.node.hidden = annotator.hidden;
  }
  remove() {
    this.annotator.views.delete(this);
  }
}
