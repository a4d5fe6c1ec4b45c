// Numbers of /metrics (Prometheus text) over time.

import { request } from "./api.js";
import { now } from "./html.js";

export const MAX_SAMPLES = 300;

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

/** Read the metrics once: `{at, values}`; null where the agent does not tell them. */
export async function scrape() {
  const response = await request("metrics").catch(() => null);
  if (!response?.ok) return null;
  return { at: now(), values: parse(await response.text()) };
}

const gauge = (name) => (samples) => samples.map(({ values }) => values.get(name) ?? null);

/** How fast a counter grows, per second; null where it was reset. */
const rate = (name) => (samples) =>
  samples.map(({ at, values }, index) => {
    const before = samples[index - 1];
    const grown = before ? (values.get(name) ?? 0) - (before.values.get(name) ?? 0) : null;
    return grown === null || grown < 0 ? null : (1000 * grown) / (at - before.at);
  });

/** The mean of what a histogram got since the sample before, in milliseconds. */
const mean = (name) => (samples) =>
  samples.map(({ values }, index) => {
    const before = samples[index - 1]?.values;
    if (!before) return null;
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
