// Numbers and times as the reader's language has them.

import { language, t } from "./i18n.js";

const number = (options) => new Intl.NumberFormat(language, options);
const plain = number({ maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const dated = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "narrow" });

export const count = (value) => plain.format(value);
export const time = (ms) => clock.format(ms);
export const dateTime = (ms) => dated.format(ms);

/** Return a time span: `312 ms`, `2.41 s`, `3 min 5 s`, `7 h 59 min`. */
export function span(ms) {
  if (ms == null || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${number({ maximumFractionDigits: ms < 10 ? 1 : 0 }).format(ms)} ms`;
  if (ms < 60_000) return `${number({ maximumSignificantDigits: 3 }).format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function bytes(value) {
  if (value < 1000) return t("bytes", { n: plain.format(value) });
  const unit = value < 1e6 ? "kB" : "MB";
  return `${number({ maximumSignificantDigits: 3 }).format(value / (value < 1e6 ? 1e3 : 1e6))} ${unit}`;
}

/** Return how long ago something was: `3 min ago`. */
export function ago(ms, at = Date.now()) {
  const seconds = Math.max(0, (at - ms) / 1000);
  for (const [unit, size] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= size) return relative.format(-Math.floor(seconds / size), unit);
  }
  return t("just_now");
}

/** Return the beginning of a text or of a value's JSON, on one line. */
export function oneLine(value, chars = 160) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return (text.length > chars ? `${text.slice(0, chars)}…` : text).replace(/\s+/g, " ");
}
