// The agent that serves this page: its health, settings and payload schema, and whether it can be reached at all.

import { getJSON, request } from "./api.js";
import { now, Observable } from "./html.js";
import { payloadSchema } from "./schema.js";

const PING_MS = 2000;
const MAX_PINGS = 300;
const DEFAULT_MAX_REQUEST_BYTES = 1024 * 1024;

class Agent extends Observable {
  pings = []; // {at, ms, status, message}, oldest first; 300 of them
  reachable = true;
  instance = null;
  settings = null; // as /console/settings tells them; null where it does not
  schema = null;
  root = null;
  #waiting = [];

  get name() {
    return this.#setting("agent_name") ?? this.settings?.agent ?? null;
  }

  get status() {
    return this.pings.at(-1)?.status ?? null;
  }

  get maxRequestBytes() {
    return this.#setting("max_request_size") ?? DEFAULT_MAX_REQUEST_BYTES;
  }

  #setting(name) {
    return this.settings?.settings.find((each) => each.name === name)?.value ?? null;
  }

  async start() {
    await this.#ping();
    setInterval(() => document.hidden || this.#ping(), PING_MS);
  }

  /** Resolves once the agent answers. */
  whenReachable() {
    return this.reachable ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #ping() {
    const started = performance.now();
    const ping = { at: now(), ms: null, status: "unreachable", message: null };
    try {
      const response = await request("ping", { signal: AbortSignal.timeout(5000) });
      const answer = await response.json();
      Object.assign(ping, { ms: performance.now() - started, status: answer.status, message: answer.message ?? null });
      this.#reached(response.headers.get("ppio-agent-instance"));
    } catch {
      this.reachable = false;
    }
    this.pings = [...this.pings, ping].slice(-MAX_PINGS);
    this.changed();
  }

  #reached(instance) {
    this.reachable = true;
    if (instance !== this.instance || this.pings.length === 0) {
      this.instance = instance;
      this.load();
    }
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Read settings and schema again, as after a restart. */
  async load() {
    const [settings, payload] = await Promise.all([getJSON("console/settings").catch(() => null), payloadSchema()]);
    this.settings = settings;
    Object.assign(this, payload);
    this.changed();
  }
}

export const agent = new Agent();
