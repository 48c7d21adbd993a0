// The player in a page of `to_html`, without a kernel. This file follows player.js in one module.

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

/** Play without a kernel; the elements `boxes` contain the frames as JSON, [[video, plane, run, problem, base64], ...]. */
export async function standalone(host, state, boxes) {
  const engine = new Engine(new LocalModel(state));
  engine.standalone = true;
  addView(engine, host);
  for (const box of boxes) {
    for (const [video, plane, run, problem, data] of JSON.parse(box.textContent)) engine.store(video, plane, run, fromBase64(data), problem);
    box.remove();
    engine.showArrivals();
    await new Promise((resume) => setTimeout(resume));
  }
  return engine;
}
