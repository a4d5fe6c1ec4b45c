// One run: its facts, headers both ways, the same call elsewhere, its connection; and all runs of the agent.

import { useEffect, useState } from "preact/hooks";
import { agent } from "../agent.js";
import { base, getJSON, hasKey, RequestError } from "../api.js";
import { Code } from "../code.js";
import { bytes, count, dateTime, span, time } from "../format.js";
import { html, now, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { sessions } from "../sessions.js";
import * as snippets from "../snippets.js";
import { cancel, events, resume } from "../stream.js";
import { ui } from "../ui.js";
import { chosenRun, RunChooser } from "./chooser.js";
import { shareOf } from "./turn.js";

const POLL_MS = 2000;
const LANGUAGES = { curl: ["curl", snippets.curl, "bash"], python: ["Python", snippets.pythonClient, "python"], javascript: ["JavaScript", snippets.javascript, "javascript"] };

export function RunView() {
  useObservable(ui);
  useObservable(sessions);
  const [listed, refresh] = usePolled("console/runs");
  const run = chosenRun();
  return html`<div class="runview">${run ? html`<div class="buttons top"><${RunChooser} /></div>` : null}
    ${run ? html`<${Details} key=${run.record.key} run=${run} listed=${listed?.runs.find((each) => each.id === run.record.id)} />` : html`<p class="empty">${t("no_run")}</p>`}
    <${AllRuns} listed=${listed} refresh=${refresh} /></div>`;
}

/** Read a path of the console's data now and every two seconds while it is shown; null where the agent has none. */
export function usePolled(path) {
  const { settings, isLoaded } = useObservable(agent);
  const [value, setValue] = useState(undefined);
  const isTold = settings !== null;
  const read = () => getJSON(path).then(setValue, (error) => error.status >= 400 && error.status < 500 && setValue(null));
  useEffect(() => {
    if (!isTold) return undefined;
    read();
    const timer = setInterval(() => document.hidden || read(), POLL_MS);
    return () => clearInterval(timer);
  }, [path, isTold]);
  return [isTold ? value : isLoaded ? null : undefined, read];
}

function Details({ run, listed }) {
  const { record, view } = run;
  const deadline = listed?.deadline_at ?? null;
  const endedAt = run.isLive ? null : (record.endedAt ?? view.lastAt);
  const facts = [
    [t("run_id"), record.id ?? "–"],
    [t("state"), t(`state_${record.status}`)],
    [t("session_id"), record.attachedTo ?? record.session],
    [t("request_id"), record.responseHeaders["x-ppio-request-id"] ?? record.headers["X-PPIO-Request-Id"] ?? "–"],
    [t("key_id"), record.headers["Idempotency-Key"] ?? "–"],
    [t("started"), dateTime(record.createdAt)],
    [t("ended"), endedAt === null ? "–" : dateTime(endedAt)],
    [t("deadline"), deadline === null ? "–" : `${dateTime(deadline * 1000)} (${t("in_time", { span: span(Math.max(0, deadline * 1000 - now())) })})`],
    [t("last_event"), `${run.lastEventId} · ${t("events_count", { n: count(view.count) })} · ${bytes(view.bytes)}`],
  ];
  return html`<section aria-label=${t("run")}><dl class="facts-list">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <${Connection} run=${run} /></section>
    <div class="columns"><${Headers} title=${t("request_headers")} headers=${record.body ? { "Content-Type": "application/json", ...record.headers } : {}} />
      <${Headers} title=${`${t("response_headers")}${record.httpStatus ? ` · HTTP ${record.httpStatus}` : ""}`} headers=${record.responseHeaders} /></div>
    <${SameCall} record=${record} />`;
}

/** Cut the connection and come back; read the events again from any of them. */
function Connection({ run }) {
  const [after, setAfter] = useState(0);
  const [again, setAgain] = useState(null);
  const known = new Map(run.events.map((event) => [event.id, event.raw]));
  const read = async () => {
    setAgain({ n: 0, same: 0, text: null });
    const found = { n: 0, same: 0 };
    const stopped = new AbortController();
    try {
      const response = await resume(run.record.id, after, stopped.signal);
      for await (const event of events(response)) {
        if (event.comment) continue;
        found.n++;
        if (known.get(event.id) === event.raw) found.same++;
        if (run.isLive && event.id >= run.lastEventId) break;
      }
      setAgain({ ...found, text: t("read_count", found) });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      setAgain({ ...found, text: `${error.type}: ${error.message}` });
    }
  };
  return html`<div class="buttons connection">
    <button type="button" disabled=${!run.isLive || run.held || run.record.id === null} onClick=${() => run.cut()}>${t("cut_now")}</button>
    <button type="button" disabled=${run.record.status !== "cut"} onClick=${() => run.reconnect()}>${t("resume_now")}</button>
    <button type="button" class="danger" disabled=${!run.isLive || run.stopping} onClick=${() => run.stop()}>${t("stop")}</button>
    <label>${t("read_from")} <input type="number" min="0" max=${run.lastEventId} value=${after} onInput=${(event) => setAfter(Number(event.target.value))} /></label>
    <button type="button" disabled=${run.record.id === null} onClick=${read}>${t("read_again")}</button>
    ${again ? html`<span role="status" class="hint">${again.text ?? t("read_running")}</span>` : null}
    ${run.record.error ? html`<p class="error">${run.record.error.type}: ${run.record.error.message}</p>` : null}
    ${run.held ? html`<p class="warning" role="status">${t("cut_held")}</p>` : null}</div>`;
}

const Headers = ({ title, headers }) =>
  html`<section class="scroll" tabindex="0" aria-label=${title}><h2>${title}</h2><table class="grid"><thead><tr><th scope="col">${t("header")}</th><th scope="col">${t("value")}</th></tr></thead><tbody>
    ${Object.entries(headers).map(([name, value]) => html`<tr key=${name}><th scope="row" class="mono">${name}</th><td class="mono">${value}</td></tr>`)}</tbody></table></section>`;

function SameCall({ record }) {
  const [chosen, choose] = useState("curl");
  if (!record.body) return null;
  const [, make, language] = LANGUAGES[chosen];
  return html`<section aria-label=${t("same_call")}><h2>${t("same_call")}</h2><div class="buttons top" role="group" aria-label=${t("same_call")}>
    ${Object.entries(LANGUAGES).map(([name, [title]]) => html`<button key=${name} type="button" class="small" aria-pressed=${name === chosen ? "true" : "false"} onClick=${() => choose(name)}>${title}</button>`)}</div>
    <${Code} text=${make(record, agent.target || base.href, hasKey() || Boolean(agent.target), agent.target === "")} language=${language} /></section>`;
}

/** The runs that the agent tells of; where it does not, those of this browser. */
function AllRuns({ listed, refresh }) {
  const own = new Map([...sessions.runs.values()].flat().filter((run) => run.record.id).map((run) => [run.record.id, run]));
  const rows = listed
    ? listed.runs.map((run) => ({ ...run, own: own.get(run.id) }))
    : [...own.values()].map((run) => ({ id: run.record.id, state: run.record.status, session_id: run.record.session, created_at: run.record.createdAt / 1000, chunks: run.view.count, own: run }));
  const stop = async (run) => {
    if (run.own) await run.own.stop();
    else await cancel(run.id).catch((error) => ui.notify(t("stop_failed", { error: error.message })));
    refresh();
  };
  const watch = (run) => ui.set({ run: sessions.attach(run.id, run.session_id).record.key });
  return html`<section class="scroll" tabindex="0" aria-label=${t("background_runs")}><h2>${t("background_runs")}</h2>
    ${listed === null ? html`<p class="hint">${t("runs_not_told")}</p>` : null}
    ${rows.length ? html`<table class="grid runs"><thead><tr><th scope="col">${t("run_id")}</th><th scope="col">${t("state")}</th><th scope="col">${t("started")}</th>
      <th scope="col">${t("duration")}</th><th scope="col">${t("chunks")}</th><th scope="col">${t("progress")}</th><th scope="col"><span class="hidden">${t("cancel_run")}</span></th></tr></thead>
      <tbody>${rows.map((run) => html`<${OneRun} key=${run.id} run=${run} onStop=${() => stop(run)} onWatch=${() => watch(run)} />`)}</tbody></table>` : html`<p class="hint">${t("no_runs")}</p>`}</section>`;
}

function OneRun({ run, onStop, onWatch }) {
  const isLive = ["queued", "running", "connecting", "streaming", "cut"].includes(run.state);
  const share = run.own ? shareOf(run.own.view.progress) : null;
  const progress = run.own?.view.progress;
  const end = run.finished_at ?? (isLive ? now() / 1000 : null);
  return html`<tr><th scope="row" class="mono">${run.id.slice(0, 12)}…</th><td>${t(`state_${run.state}`)}${run.error_type && run.state === "failed" ? html` <span class="error" title=${run.error_type}>${run.error_type.split(".").at(-1)}</span>` : null}</td>
    <td>${time(run.created_at * 1000).slice(0, 8)}</td><td>${end === null ? "–" : span((end - run.created_at) * 1000)}</td><td>${count(run.chunks ?? 0)}</td>
    <td>${progress === undefined ? null : html`<progress max="1" value=${share ?? undefined} aria-label=${t("progress")}></progress> <span class="mono">${JSON.stringify(progress)}</span>`}</td>
    <td class="buttons">${run.own ? html`<button type="button" class="small" onClick=${() => ui.go("events", run.own.record.key)}>${t("events")}</button>`
      : run.durable || isLive ? html`<button type="button" class="small" onClick=${onWatch}>${t("watch")}</button>` : null}
      ${isLive ? html`<button type="button" class="small" aria-label=${`${t("cancel_run")} ${run.id}`} onClick=${onStop}>${t("cancel_run")}</button>` : null}</td></tr>`;
}
