// Numbers of /metrics (Prometheus text) over time.

import { agent } from "./agent.js";
import { request } from "./api.js";
import { now, Observable } from "./html.js";
import { ui } from "./ui.js";

const MAX_SAMPLES = 300;
const TICK_MS = 2000;
const UNWATCHED_TICKS = 5; // from one sample to the next while another view is open
const LONGEST_GAP_MS = 2 * UNWATCHED_TICKS * TICK_MS;

/** Return the samples of Prometheus text: name without labels -> sum over all of its labels. */
export function parse(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found;
    const add = (key) => sums.set(key, (sums.get(key) ?? 0) + Number(value));
    add(name);
    if (name === "ppio_agent_invocations_total" && !labels.includes('outcome="success"')) add("failures");
  }
  return sums;
}

class Metrics extends Observable {
  samples = []; // {at, values}, oldest first
  isTold = null; // null before the first answer
  #refusedBy = null; // the instance that has none
  #ticks = 0;

  start() {
    setInterval(() => {
      if (!document.hidden && (ui.view === "service" || ++this.#ticks % UNWATCHED_TICKS === 1)) this.look();
    }, TICK_MS);
  }

  /** Take a sample. */
  async look() {
    if (!agent.reachable || agent.isLocked || (this.isTold === false && this.#refusedBy === agent.instance)) return;
    const response = await request("metrics").catch(() => null);
    if (response === null) return;
    this.isTold = response.ok;
    if (response.ok) this.samples = [...this.samples, { at: now(), values: parse(await response.text()) }].slice(-MAX_SAMPLES);
    else if (response.status !== 401) this.#refusedBy = agent.instance;
    this.changed();
  }
}

export const metrics = new Metrics();

/** Return the samples with an empty one wherever none were taken for a while: no line is drawn across. */
export function withGaps(samples) {
  return samples.flatMap((sample, index) => {
    const before = samples[index - 1];
    return before && sample.at - before.at > LONGEST_GAP_MS ? [{ at: (before.at + sample.at) / 2, values: null }, sample] : [sample];
  });
}

const gauge = (name) => (samples) => samples.map(({ values }) => values?.get(name) ?? null);

/** How fast a counter grows, per second; null where it was reset. */
const rate = (name) => (samples) =>
  samples.map(({ at, values }, index) => {
    const before = samples[index - 1];
    const grown = before?.values && values ? (values.get(name) ?? 0) - (before.values.get(name) ?? 0) : null;
    return grown === null || grown < 0 ? null : (1000 * grown) / (at - before.at);
  });

/** The mean of what a histogram got since the sample before, in milliseconds. */
const mean = (name) => (samples) =>
  samples.map(({ values }, index) => {
    const before = samples[index - 1]?.values;
    if (!before || !values) return null;
    const grown = (what) => (values.get(`${name}_${what}`) ?? 0) - (before.get(`${name}_${what}`) ?? 0);
    return grown("count") > 0 ? (1000 * grown("sum")) / grown("count") : null;
  });

/** The plots: word for its name, unit, and how its values come from the samples. */
export const PLOTS = [
  ["plot_in_flight", "", gauge("ppio_agent_invocations_in_flight")],
  ["plot_rate", "/s", rate("ppio_agent_invocations_total")],
  ["plot_errors", "/s", rate("failures")],
  ["plot_duration", "ms", mean("ppio_agent_invocation_duration_seconds")],
  ["plot_first_chunk", "ms", mean("ppio_agent_first_chunk_seconds")],
  ["plot_bytes", "B/s", rate("ppio_agent_sent_bytes_total")],
  ["plot_memory", "B", gauge("process_resident_memory_bytes")],
  ["plot_cpu", "%", (samples) => rate("process_cpu_seconds_total")(samples).map((value) => (value === null ? null : 100 * value))],
];
