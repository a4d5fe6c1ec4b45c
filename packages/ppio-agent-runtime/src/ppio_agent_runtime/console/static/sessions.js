// The sessions of this browser and their runs: which is open, sending, editing, what other tabs do.

import { agent } from "./agent.js";
import { storageName } from "./api.js";
import { now, Observable, randomId } from "./html.js";
import { newRecord, Run } from "./run.js";
import * as store from "./store.js";

const TITLE_CHARS = 60;

class Sessions extends Observable {
  list = []; // newest first: {id, title, named, createdAt, updatedAt}
  current = null;
  runs = new Map(); // of sessions that are loaded: id -> Run[], oldest first
  #channel = new BroadcastChannel(storageName);

  /** Load the history, and go on with what was under way. */
  async start() {
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    addEventListener("pagehide", () => this.#all().forEach((run) => run.flush()));
    this.list = (await store.loadSessions()).sort((a, b) => b.updatedAt - a.updatedAt);
    const live = await Promise.all(["connecting", "streaming", "cut"].map(store.runsWith));
    for (const id of new Set(live.flat().map((record) => record.session))) await this.#load(id);
    const last = sessionStorage.getItem(storageName);
    await this.open(this.list.find((each) => each.id === last)?.id ?? this.list[0]?.id);
  }

  get session() {
    return this.list.find((each) => each.id === this.current) ?? null;
  }

  /** The runs of the session that is open. */
  get shown() {
    return this.runs.get(this.current) ?? [];
  }

  #all() {
    return [...this.runs.values()].flat();
  }

  isRunning(id) {
    return (this.runs.get(id) ?? []).some((run) => run.isLive);
  }

  /** The run that the conversation waits for; those in the background are not waited for. */
  get active() {
    return this.shown.findLast((run) => run.isLive && !run.record.background) ?? null;
  }

  find(key) {
    return this.#all().find((run) => run.record.key === key) ?? null;
  }

  /** What the runs of the session tell of a tool call together: one that was asked about ends in the run of the answer. */
  toolCall(id) {
    const parts = this.shown.map((run) => run.view.open.get(`tool:${id}`)).filter(Boolean);
    const told = (field) => parts.map((part) => part[field]).find((value) => value !== undefined && value !== "");
    return { name: told("name"), args: told("args"), result: told("result") };
  }

  async open(id) {
    if (id === undefined) return this.create();
    if (!this.runs.has(id)) await this.#load(id);
    this.current = id;
    sessionStorage.setItem(storageName, id);
    this.flush();
  }

  create() {
    const empty = this.list.find((each) => !each.named && !(this.runs.get(each.id) ?? [1]).length);
    const session = empty ?? { id: randomId(), title: "", named: false, createdAt: now(), updatedAt: now() };
    if (!empty) {
      this.list.unshift(session);
      this.runs.set(session.id, []);
    }
    return this.open(session.id);
  }

  rename(id, title) {
    this.#update(id, { title: title.trim().slice(0, TITLE_CHARS), named: title.trim() !== "" });
  }

  async delete(id) {
    for (const run of this.runs.get(id) ?? []) if (run.isLive) run.stop();
    this.list = this.list.filter((each) => each.id !== id);
    this.runs.delete(id);
    await store.deleteSession(id);
    this.#channel.postMessage({ deleted: id });
    if (this.current === id) await this.open(this.list[0]?.id);
    this.changed();
  }

  /** Open the session before or after the one that is open. */
  step(by) {
    const index = this.list.findIndex((each) => each.id === this.current) + by;
    if (this.list[index]) this.open(this.list[index].id);
  }

  /**
   * Begin a run in the open session.
   *
   * @param body The request's body, as JSON text.
   * @param input What the user gave, for editing: `{mode, text, title}`.
   */
  send(body, input, { background = false, headers = {} } = {}) {
    const record = newRecord(this.current, body, input, { background });
    if (background) record.headers.Prefer = "respond-async";
    Object.assign(record.headers, headers);
    const run = this.#make(record, []);
    this.shown.push(run);
    const { named, title } = this.session;
    this.#update(this.current, { updatedAt: now(), title: named || title ? title : (input.title ?? input.text).trim().slice(0, TITLE_CHARS) });
    this.list.sort((a, b) => b.updatedAt - a.updatedAt);
    store.saveRun(record).then(() => store.prune(record.session));
    agent.whenReachable().then(() => run.follow(agent.instance));
    this.flush();
    return run;
  }

  /** Read a run of the agent that this browser did not begin. */
  attach(id, session) {
    const known = this.#all().find((run) => run.record.id === id);
    if (known) return known;
    const input = { mode: "attached", text: "" };
    const record = newRecord(this.current, "", input, { id, status: "streaming", background: true, attachedTo: session, headers: {} });
    const run = this.#make(record, []);
    this.shown.push(run);
    run.follow(agent.instance);
    this.flush();
    return run;
  }

  /** Remove a run and all after it, to replace them by an edited one. */
  async removeFrom(key) {
    const index = this.shown.findIndex((run) => run.record.key === key);
    if (index < 0) return;
    for (const run of this.shown.splice(index)) {
      run.stop();
      await store.deleteRun(run.record.key);
    }
    this.flush();
  }

  /** Answer the interrupts of a run: a new run with the answers. Nothing where they are answered already. */
  answer(run, answers, text) {
    const asked = new Set(run.view.interrupts.map((each) => each.id));
    if (run.record.answered || !answers.every((each) => asked.has(each.interrupt_id))) return null;
    run.setAnswered(true);
    return this.send(JSON.stringify({ resume: answers }), { mode: "answer", text, asked: run.record.key });
  }

  #update(id, change) {
    const session = this.list.find((each) => each.id === id);
    Object.assign(session, change);
    store.saveSession(session).then(() => this.#channel.postMessage({ session: id }));
    this.changed();
  }

  #make(record, events) {
    const run = new Run(record, (important) => {
      if (run.wasRefused) this.find(record.input.asked)?.setAnswered(false);
      this.changed();
      if (important && !run.isLive) agent.look();
      if (important) setTimeout(() => this.#channel.postMessage({ session: record.session, run: record.key }), 400);
    }, events);
    return run;
  }

  async #load(id) {
    const records = await store.loadRuns(id);
    const runs = await Promise.all(records.map(async (record) => this.#make(record, await store.loadEvents(record.key))));
    this.runs.set(id, runs);
    for (const run of runs) run.follow(agent.instance);
  }

  /** Another tab has changed something. */
  async #hear({ session, run: key, deleted }) {
    if (deleted) {
      this.list = this.list.filter((each) => each.id !== deleted);
      this.runs.delete(deleted);
      if (this.current === deleted) await this.open(this.list[0]?.id);
    } else {
      if (!key) {
        const stored = await store.loadSessions();
        const own = this.list.filter((each) => !stored.some((other) => other.id === each.id));
        this.list = [...own, ...stored].sort((a, b) => b.updatedAt - a.updatedAt);
      }
      const runs = this.runs.get(session);
      if (key && runs) await this.#refresh(runs, key);
    }
    this.changed();
  }

  async #refresh(runs, key) {
    const index = runs.findIndex((run) => run.record.key === key);
    if (runs[index]?.following) return;
    const record = await store.loadRun(key);
    if (!record) return;
    const run = this.#make(record, await store.loadEvents(key));
    const at = runs.findIndex((each) => each.record.key === key);
    if (at < 0) runs.push(run);
    else runs[at] = run;
    run.follow(agent.instance);
  }
}

export const sessions = new Sessions();
