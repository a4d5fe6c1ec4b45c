// The agent's log, live. Lines are text: colours of terminals become classes.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { agent } from "../agent.js";
import { parts } from "../ansi.js";
import { request, RequestError } from "../api.js";
import { time } from "../format.js";
import { html, Observable, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { dataOf } from "../runs.js";
import { events } from "../stream.js";

const MAX_LINES = 2000;
const SHOWN_LINES = 400;
const RETRY_MS = 2000;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

class LogReader extends Observable {
  lines = [];
  #lastId = null;
  #abort = null;

  async start() {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        const headers = { Accept: "text/event-stream", ...(this.#lastId === null ? {} : { "Last-Event-ID": String(this.#lastId) }) };
        const response = await request("console/log", { headers, signal });
        if (!response.ok) return undefined;
        for await (const event of events(response)) this.#take(event);
      } catch (error) {
        if (error.name === "AbortError") return undefined;
        if (!(error instanceof RequestError)) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return undefined;
  }

  stop() {
    this.#abort?.abort();
  }

  #take(event) {
    if (event.comment) return;
    const data = dataOf(event);
    if (event.event === "dropped") this.lines.push({ id: `dropped ${event.at}`, message: t("log_dropped", { n: data.lines }), level: "WARNING", source: "log", at: event.at / 1000 });
    else {
      if (event.id !== null && this.#lastId !== null && event.id < this.#lastId) this.lines = []; // another process
      this.#lastId = event.id;
      this.lines.push({ id: event.id, ...data });
    }
    if (this.lines.length > MAX_LINES) this.lines.splice(0, this.lines.length - MAX_LINES);
    this.changed();
  }
}

const reader = new LogReader();

export function Log() {
  useObservable(reader);
  const hasLog = useObservable(agent).settings?.has_log ?? false;
  const [least, setLeast] = useState("DEBUG");
  const place = useRef(null);
  const follows = useRef(true);
  useEffect(() => {
    if (!hasLog) return undefined;
    reader.start();
    return () => reader.stop();
  }, [hasLog]);
  useLayoutEffect(() => {
    if (follows.current && place.current) place.current.scrollTop = place.current.scrollHeight;
  });
  if (!hasLog && agent.isLoaded) return html`<p class="hint">${t("log_not_told")}</p>`;
  const shown = reader.lines.filter((line) => line.level === null || LEVELS.indexOf(line.level) >= LEVELS.indexOf(least)).slice(-SHOWN_LINES);
  const scrolled = ({ currentTarget: box }) => (follows.current = box.scrollHeight - box.scrollTop - box.clientHeight < 30);
  return html`<label class="chooser"><span>${t("log_levels")}</span><select value=${least} onChange=${(event) => setLeast(event.target.value)}>
      ${LEVELS.map((level) => html`<option key=${level} selected=${level === least}>${level}</option>`)}</select></label>
    <div class="loglines mono scroll" role="log" aria-label=${t("log")} aria-live="off" tabindex="0" ref=${place} onScroll=${scrolled}>
      ${shown.length ? shown.map((line) => html`<${Line} key=${line.id} line=${line} />`) : t("log_empty")}</div>`;
}

const Line = ({ line }) =>
  html`<div class=${`line ${line.level ?? line.source}`}><span class="hint">${time(line.at * 1000)} ${line.level ?? line.source} ${line.where ?? ""}</span> ${parts(line.message ?? "").map(({ text, className }, index) => html`<span key=${index} class=${className || undefined}>${text}</span>`)}</div>`;
