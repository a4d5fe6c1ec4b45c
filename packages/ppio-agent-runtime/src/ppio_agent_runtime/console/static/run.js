// One run: the list of its events, what it shows, and its connection with all that may happen to it.

import { agent } from "./agent.js";
import { getJSON, RequestError } from "./api.js";
import { now, randomId } from "./html.js";
import { emptyView, reduce } from "./runs.js";
import * as store from "./store.js";
import { cancel, EVENT_HEADERS, events, isEventStream, post, resume } from "./stream.js";

const SAVE_MS = 300;
const MAX_ATTEMPTS = 12; // about 45 s; the agent waits 60 s for a caller that is gone
const LIVE = new Set(["connecting", "streaming", "cut"]);

/** Return the record of a run that is about to begin. */
export function newRecord(session, body, input, more = {}) {
  const key = randomId();
  const headers = { ...EVENT_HEADERS, "X-PPIO-Session-Id": encodeURIComponent(session), "X-PPIO-Request-Id": key, "Idempotency-Key": key };
  return {
    key, session, body, input, headers, status: "connecting", createdAt: now(), id: null, instance: null, httpStatus: null,
    responseHeaders: {}, error: null, answered: false, background: false, attempts: 0, bytes: 0, marks: [], ...more,
  };
}

/** Return the frames of the agent's own code in which a run failed; none where the agent does not tell them. */
async function framesOf(id) {
  if (!agent.settings) return [];
  for (let attempt = 0; attempt < 5; attempt++) {
    const told = await getJSON(`console/spans?run=${encodeURIComponent(id)}`).catch(() => null);
    if (told?.complete !== false) return told?.frames ?? [];
    await new Promise((resolve) => setTimeout(resolve, 200)); // its answer is out, and its end is about to be noted
  }
  return [];
}

export class Run {
  #abort = null;
  #wake = null;
  #unsaved = [];
  #saving = null;
  #onChange;

  /**
   * @param record What is kept of it, from `newRecord` or the store.
   * @param onChange Called after each change; true where others should hear of it at once.
   */
  constructor(record, onChange, known = []) {
    this.record = record;
    this.#onChange = onChange;
    this.events = known;
    this.view = known.reduce(reduce, emptyView());
    this.following = false;
    this.stopping = false;
    this.stopError = null;
    this.heardAt = null;
    this.held = false; // cut on purpose, until `reconnect`
  }

  get isLive() {
    return LIVE.has(this.record.status);
  }

  get lastEventId() {
    return this.events.at(-1)?.id ?? 0;
  }

  /** Begin, or go on after a reload, until the run is over. Never throws. */
  async follow(instance = null) {
    if (this.following || !this.isLive) return;
    this.following = true;
    const { record } = this;
    if (record.instance === null) record.instance = instance;
    let first = record.status === "connecting" && !record.attempts;
    try {
      for (;;) {
        try {
          if (await this.#attempt(first)) break;
        } catch (error) {
          if (!(error instanceof RequestError) && error.name !== "AbortError") throw error;
          if (!(await this.#mayTryAgain(error))) break;
        }
        first = false;
      }
    } catch (error) {
      this.#fail(error);
    }
    this.following = false;
    if (record.status === "failed" && record.id !== null) record.error.frames = await framesOf(record.id);
    await this.#save();
    this.#onChange(true);
  }

  /** Take part in the run over one connection; true when it is over. */
  async #attempt(first) {
    const { record } = this;
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const repeats = first ? {} : { "PPIO-Agent-Instance": record.instance };
    this.#saveSoon();
    const again = record.id !== null;
    const response = again
      ? await resume(record.id, this.lastEventId, signal)
      : await post(record.body, { ...record.headers, ...repeats }, signal);
    this.#took(response);
    if (response.status === 202) {
      record.id = (await response.json()).invocation_id;
      return false;
    }
    if (!isEventStream(response)) return this.#takeWhole(response);
    if (this.lastEventId) record.marks.push({ after: this.lastEventId, at: now() });
    this.#setStatus("streaming");
    for await (const event of events(response)) {
      this.heardAt = now();
      if (!event.comment) this.#take(event);
      this.#onChange();
    }
    this.#finish();
    return true;
  }

  #took(response) {
    const { record } = this;
    record.httpStatus = response.status;
    record.responseHeaders = Object.fromEntries(response.headers);
    record.id = response.headers.get("x-ppio-invocation-id") ?? record.id;
    record.instance = response.headers.get("ppio-agent-instance") ?? record.instance;
    this.heardAt = now();
    if (this.stopping) this.#cancel();
    this.#onChange();
  }

  #take(event) {
    event.id ??= this.lastEventId + 1;
    if (event.id <= this.lastEventId) return;
    this.record.attempts = 0;
    this.events.push(event);
    reduce(this.view, event);
    this.record.bytes += event.size;
    if (this.record.bytes <= store.MAX_SESSION_BYTES) this.#unsaved.push(event);
    this.#saveSoon();
  }

  async #takeWhole(response) {
    const raw = await response.text();
    let value = raw;
    try {
      value = JSON.parse(raw);
    } catch {
      // shown as text
    }
    this.#take({ id: 1, at: now(), size: raw.length, event: "chunk", raw: JSON.stringify(value) });
    this.view.ended = true;
    this.#finish();
    return true;
  }

  #finish() {
    const { error, interrupts } = this.view;
    if (error) return this.#fail(new RequestError(error.message, { ...error, status: this.record.httpStatus }));
    this.#setStatus(interrupts.length ? "interrupted" : "done");
  }

  #fail(error) {
    const { message, status = 0, type = error.name, requestId = null, metadata = {} } = error;
    if (this.record.httpStatus === null && status) {
      Object.assign(this.record, { httpStatus: status, responseHeaders: error.headers });
      this.record.id ??= error.headers["x-ppio-invocation-id"] ?? null;
    }
    this.record.error = { message, status, type, requestId, retryAfter: error.headers?.["retry-after"] ?? null, metadata };
    this.#setStatus(type === "InvocationCancelledError" ? "stopped" : "failed");
  }

  /** Wait after a cut until it is time to come back; false when the run has failed. */
  async #mayTryAgain(error) {
    const { record } = this;
    const began = record.id !== null;
    if (error.name !== "AbortError") {
      if (error.status && !(began && error.status >= 502)) {
        if (began && record.attempts) error.message = `could not be resumed: ${error.message}`;
        return this.#fail(error);
      }
      if (!began && record.instance === null) {
        error.message += " Whether the agent ran is not known.";
        return this.#fail(error);
      }
      if (++record.attempts > MAX_ATTEMPTS) return this.#fail(error);
    }
    this.#setStatus("cut");
    await new Promise((resolve) => {
      this.#wake = resolve;
      if (!this.held) setTimeout(resolve, Math.min(5000, 125 * 2 ** record.attempts));
    });
    return true;
  }

  /** Cut the connection on purpose; the run goes on at the agent until `reconnect`. */
  cut() {
    this.held = true;
    this.#abort?.abort();
  }

  /** Come back now. */
  reconnect() {
    this.held = false;
    this.#wake?.();
  }

  /** Ask the agent to stop. The run is stopped when the agent has said so. */
  async stop() {
    if (this.stopping || !this.isLive) return;
    this.stopping = true;
    this.stopError = null;
    this.#onChange();
    // The agent names a run with its first event; until then it can be found by the request's id, with `debug`.
    if (this.record.id === null) {
      const listed = agent.settings && (await getJSON("console/runs").catch(() => null));
      this.record.id ??= listed?.runs.find((run) => run.request_id === this.record.headers["X-PPIO-Request-Id"])?.id ?? null;
    }
    if (this.record.id !== null) await this.#cancel();
  }

  async #cancel() {
    try {
      await cancel(this.record.id);
      this.reconnect();
    } catch (error) {
      this.stopError = error.message;
      this.stopping = false;
    }
    this.#onChange();
  }

  #setStatus(status) {
    this.record.status = status;
    if (!this.isLive) this.record.endedAt = now();
    this.#saveSoon();
    this.#onChange(true);
  }

  #saveSoon() {
    this.#saving ??= setTimeout(() => this.#save(), SAVE_MS);
  }

  async #save() {
    clearTimeout(this.#saving);
    this.#saving = null;
    const unsaved = this.#unsaved.splice(0);
    if (unsaved.length) await store.saveEvents(this.record.key, unsaved);
    await store.saveRun(this.record);
  }

  /** Keep what is known now, before the page goes. */
  flush() {
    if (this.#saving !== null) this.#save();
  }

  /** Whether the agent refused what was sent. */
  get wasRefused() {
    const { status, error } = this.record;
    return status === "failed" && error.status >= 400 && error.status < 500;
  }

  /** Note that the interrupts of this run were answered, or that the answer was refused and they wait again. */
  setAnswered(answered) {
    if (this.record.answered === answered) return;
    this.record.answered = answered;
    this.#setStatus(answered ? "done" : "interrupted");
  }
}
