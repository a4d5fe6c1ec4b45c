// The events of one run as a list, one of them beside it; what the run had said and its state by then.

import { useEffect, useRef, useState } from "preact/hooks";
import { Code } from "../code.js";
import { bytes, count, oneLine, span, time } from "../format.js";
import { html, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { dataOf, isTyped, typeOf, viewOf } from "../runs.js";
import { sessions } from "../sessions.js";
import { ui } from "../ui.js";
import { chosenRun, RunChooser } from "./chooser.js";
import { Interrupts } from "./interrupts.js";
import { Part, pretty } from "./parts.js";
import { Tree } from "./tree.js";

const ROW_PIXELS = 26;
const WINDOWED_FROM = 300;
const LONGEST_STEP_MS = 1000;

export function Events() {
  useObservable(ui);
  useObservable(sessions);
  const run = chosenRun();
  if (!run) return html`<p class="empty">${t("no_run")}</p>`;
  return html`<${EventsOf} key=${run.record.key} run=${run} />`;
}

function EventsOf({ run }) {
  const [paused, setPaused] = useState(null); // the number of events that are shown meanwhile
  const [raw, setRaw] = useState(false);
  const [opened, setOpened] = useState(null);
  const [replayed, setReplayed] = useState(null); // index of the event up to which the run is shown again
  const { events, record, view } = run;
  const arrived = paused === null ? events : events.slice(0, paused);
  const known = replayed === null ? arrived : arrived.slice(0, replayed + 1);
  const words = ui.filter.toLowerCase().trim();
  const rows = known
    .map((event, index) => ({ event, index, gap: index ? event.at - known[index - 1].at : null }))
    .filter(({ event }) => !words || typeOf(event).toLowerCase().includes(words) || event.raw.toLowerCase().includes(words));
  useReplay(events, replayed, setReplayed);
  const current = replayed !== null ? events[replayed] : (events.find((event) => event.id === opened) ?? null);
  return html`<div class="eventsview"><div class="buttons top"><${RunChooser} />
      <input id="filter" type="search" class="filter" aria-label=${t("filter")} placeholder=${t("filter_hint")} value=${ui.filter}
        onInput=${(event) => ui.set({ filter: event.target.value })} />
      <button type="button" class="small" aria-pressed=${paused === null ? "false" : "true"} onClick=${() => setPaused(paused === null ? events.length : null)}>${t("pause")}</button>
      <button type="button" class="small" aria-pressed=${raw ? "true" : "false"} onClick=${() => setRaw(!raw)}>${t("raw")}</button>
      <button type="button" class="small" onClick=${() => exportEvents(run)}>${t("export")}</button>
      ${replayed === null ? null : html`<span class="chip" role="status">${t("replaying", { n: events[replayed].id })}</span>
        <button type="button" class="small" onClick=${() => setReplayed(null)}>${t("replay_end")}</button>`}
      <${Figures} record=${record} view=${view} shown=${rows.length} all=${events.length} /></div>
    <${List} rows=${rows} record=${record} view=${view} raw=${raw} opened=${current?.id ?? null} onOpen=${setOpened} />
    <${Beside} run=${run} event=${current} onReplay=${(event) => setReplayed(events.indexOf(event))} isReplay=${replayed !== null} /></div>`;
}

/** Show events one after the other, as they came, with at most a second between two. */
function useReplay(events, replayed, setReplayed) {
  useEffect(() => {
    if (replayed === null || replayed >= events.length - 1) return undefined;
    const wait = Math.min(LONGEST_STEP_MS, events[replayed + 1].at - events[replayed].at);
    const timer = setTimeout(() => setReplayed(replayed + 1), Math.max(30, wait));
    return () => clearTimeout(timer);
  }, [replayed]);
}

function Figures({ record, view, shown, all }) {
  const figures = [
    [t("to_first"), view.firstAt === null ? "–" : span(view.firstAt - record.createdAt)],
    [t("duration"), view.lastAt === null ? "–" : span(view.lastAt - record.createdAt)],
    [t("event_number"), shown === all ? count(all) : t("shown_of", { shown: count(shown), all: count(all) })],
    [t("total_size"), bytes(view.bytes)],
  ];
  return html`<dl class="figures">${figures.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function List({ rows, record, view, raw, opened, onOpen }) {
  const place = useRef(null);
  const [top, setTop] = useState(0);
  const index = rows.findIndex(({ event }) => event.id === opened);
  const height = place.current?.clientHeight ?? 600;
  const windowed = rows.length > WINDOWED_FROM && !raw;
  const first = windowed ? Math.max(0, Math.floor(top / ROW_PIXELS) - 20) : 0;
  const last = windowed ? Math.min(rows.length, first + Math.ceil(height / ROW_PIXELS) + 40) : rows.length;
  const open = (to) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (!row) return;
    onOpen(row.event.id);
    const box = place.current;
    const at = rows.indexOf(row) * ROW_PIXELS;
    if (windowed) box.scrollTop = Math.min(Math.max(box.scrollTop, at - box.clientHeight + 3 * ROW_PIXELS), at);
    setTimeout(() => box.querySelector(`[data-id="${row.event.id}"]`)?.focus());
  };
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (by === undefined || (event.key.length === 1 && !ui.letterKeys)) return;
    event.preventDefault();
    open(index < 0 ? 0 : index + by);
  };
  const columns = ["id", "at", "gap", "size", "type", "text"];
  return html`<div class="eventlist scroll" ref=${place} tabindex="0" role="region" aria-label=${t("event_list")} onScroll=${(event) => windowed && setTop(event.target.scrollTop)} onKeyDown=${keys}>
    <table aria-rowcount=${rows.length + 1}><thead><tr>${columns.map((name) => html`<th key=${name} scope="col" class=${name}>${t(`column_${name}`)}</th>`)}</tr></thead><tbody>
      <${Space} rows=${first} />
      ${rows.slice(first, last).map(({ event, gap }) => html`<${Row} key=${event.id} event=${event} gap=${gap} record=${record} raw=${raw} isOpen=${event.id === opened} onOpen=${onOpen} />`)}
      <${Space} rows=${rows.length - last} /></tbody></table>
    ${rows.length ? null : html`<p class="empty">${t(view.count ? "no_event" : record.status === "failed" ? "failed_before" : "no_events")}</p>`}</div>`;
}

/** The room of rows that are not drawn; its height is set by script, which the policy allows. */
const Space = ({ rows }) =>
  rows > 0 ? html`<tr aria-hidden="true"><td colspan="6" class="space" ref=${(cell) => cell && (cell.style.height = `${rows * ROW_PIXELS}px`)}></td></tr>` : null;

function Row({ event, gap, record, raw, isOpen, onOpen }) {
  const mark = record.marks.some((each) => each.after === event.id);
  const type = typeOf(event);
  return html`<tr class=${isOpen ? "open" : ""} aria-current=${isOpen ? "true" : undefined} onClick=${() => onOpen(event.id)}>
    <td class="id"><button type="button" class="quiet" data-id=${event.id} aria-label=${`${t("event", { n: event.id })}, ${type}`} onClick=${() => onOpen(event.id)}>${event.id}</button></td>
    <td class="at">${span(event.at - record.createdAt)}</td><td class="gap">${gap === null ? "" : span(gap)}</td><td class="size">${bytes(event.size)}</td>
    <td class="type"><span class=${`kind ${type.split("_")[0].toLowerCase()}`}>${type}</span>${mark ? html` <span class="chip">${t("resumed_mark")} ↓</span>` : null}</td>
    <td class=${raw ? "text mono" : "text mono cut"}>${raw ? event.raw : summaryOf(event)}</td></tr>`;
}

/** Return what an event says on one line: what differs from its neighbours. */
function summaryOf(event) {
  const data = dataOf(event);
  if (!isTyped(data)) return oneLine(data?.error ?? data);
  const { type, messageId, toolCallId, ...rest } = data;
  if (data.delta !== undefined && Object.keys(rest).length === 1) return oneLine(data.delta);
  return oneLine(data.toolCallName ?? data.content ?? data.snapshot ?? (Object.keys(rest).length ? rest : (toolCallId ?? messageId ?? "")));
}

function Beside({ run, event, onReplay, isReplay }) {
  if (!event) {
    if (!run.events.length) return html`<aside class="beside" aria-label=${t("state")}>${run.record.error ? html`<p class="error">${run.record.error.type}: ${run.record.error.message}</p>` : null}</aside>`;
    return html`<aside class="beside" aria-label=${t("state")}><p class="hint">${t("pick_event")}</p><${State} view=${run.view} title=${t("state")} />
      <${Said} run=${run} view=${run.view} /></aside>`;
  }
  const view = viewOf(run.events.slice(0, run.events.indexOf(event) + 1));
  const title = t("event", { n: event.id });
  return html`<aside class="beside" aria-label=${title}><div class="head"><h2>${title} <span class="hint">${typeOf(event)} · ${time(event.at)} · ${bytes(event.size)}</span></h2>
      <button type="button" class="small" onClick=${() => onReplay(event)}>${t("replay")}</button></div>
    ${isReplay ? null : html`<${Code} text=${pretty(event.raw)} language="json" label=${title} />`}
    <${State} view=${view} title=${t("state_after", { n: event.id })} /><${Said} run=${run} view=${view} /></aside>`;
}

const State = ({ view, title }) =>
  html`<section aria-label=${title}><h2>${title}</h2>${view.state === undefined ? html`<p class="hint">${t("state_none")}</p>` : html`<${Tree} value=${view.state} changes=${view.changes} label=${title} />`}</section>`;

/** What the run had said by then: as in the conversation. */
function Said({ run, view }) {
  const isEnd = view.count === run.events.length;
  return html`<section class="said" aria-label=${t("conversation")}><h2>${t("conversation")}</h2>
    ${view.parts.map((part, index) => html`<${Part} key=${`${index} ${part.version}`} part=${part} isOver=${!run.isLive || !isEnd} />`)}
    ${isEnd && run.record.status === "interrupted" ? html`<${Interrupts} run=${run} />` : null}</section>`;
}

/** Save the events as JSON Lines: number, time, name and data; no headers. */
function exportEvents(run) {
  const lines = run.events.map((event) => JSON.stringify({ id: event.id, at: new Date(event.at).toISOString(), event: event.event, data: dataOf(event) }));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n"), "\n"], { type: "application/jsonl" }));
  link.download = `${run.record.id ?? run.record.key}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
