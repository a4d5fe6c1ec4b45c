// The agent that serves this page: its health, settings and payload schema, and whether it can be reached at all.

import { askAgain, getJSON, onLocked, request } from "./api.js";
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
  isLoaded = false; // whether it was asked for them
  isLocked = false; // it refuses requests for want of a key
  target = null; // where the agent of `ppio-agent console` is; "" if only that command can reach it, null without it
  schema = null;
  root = null;
  #waiting = [];

  get name() {
    const named = this.settings?.settings.find((each) => each.name === "agent_name" && each.origin !== "default");
    const elsewhere = this.target ? new URL(this.target).host : null;
    return named?.value ?? this.settings?.name ?? this.settings?.agent?.split(".").at(-1) ?? elsewhere;
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
    onLocked((isLocked) => {
      this.isLocked = isLocked;
      if (!isLocked) this.load();
      this.changed();
    });
    await this.look();
    setInterval(() => document.hidden || this.look(), PING_MS);
  }

  /** Resolves once the agent answers. */
  whenReachable() {
    return this.reachable ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Look how it is. */
  async look() {
    const started = performance.now();
    const ping = { at: now(), ms: null, status: "unreachable", message: null };
    try {
      const response = await request("ping", { signal: AbortSignal.timeout(5000) });
      const answer = await response.json();
      Object.assign(ping, { ms: performance.now() - started, status: answer.status, message: answer.message ?? null });
      this.target = response.headers.get("ppio-console-target");
      this.#reached(response.headers.get("ppio-agent-instance"));
    } catch {
      this.reachable = false;
    }
    this.pings = [...this.pings, ping].slice(-MAX_PINGS);
    this.changed();
  }

  #reached(instance) {
    this.reachable = true;
    if (instance !== this.instance || !this.isLoaded) {
      this.instance = instance;
      this.load();
    }
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Read settings and schema again, as after a restart. */
  async load() {
    this.isLoaded = true;
    const failed = (error) => {
      this.isLoaded = this.isLocked || (error.status > 0 && error.status < 500); // else the next look tries again
      return null;
    };
    const [settings, payload] = await Promise.all([getJSON("console/settings").catch(failed), payloadSchema()]);
    this.settings = settings;
    Object.assign(this, payload);
    this.changed();
  }

  /** Ask for the key that the user did not give before. */
  unlock() {
    askAgain();
    this.load();
  }
}

export const agent = new Agent();
