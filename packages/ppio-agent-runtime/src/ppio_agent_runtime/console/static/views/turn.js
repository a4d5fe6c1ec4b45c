// One turn of the conversation: what the user sent, what the agent said, how the run stands.

import { useEffect, useState } from "preact/hooks";
import { bytes, count, span } from "../format.js";
import { html, now } from "../html.js";
import { t } from "../i18n.js";
import { sessions } from "../sessions.js";
import { focusBox, ui } from "../ui.js";
import { Interrupts } from "./interrupts.js";
import { Part } from "./parts.js";

const RESUMED_MS = 5000;

export function Turn({ run, isLast }) {
  const { record, view } = run;
  return html`<article class="turn" data-status=${record.status} aria-label=${t("turn", { text: record.input.text.slice(0, 40) })}>
    <${Question} run=${run} />
    <div class="answer"><h3 class="who">${t("agent")}</h3><div class="said">
      ${view.parts.map((part, index) => html`<${Part} key=${index} part=${part} isOver=${!run.isLive || index < view.parts.length - 1} />`)}
      ${run.isLive && !view.parts.length ? html`<span class="pulse" aria-hidden="true">●●●</span>` : null}
      ${run.isLive ? html`<${Progress} value=${view.progress} />` : null}
      <${Outcome} run=${run} />
      ${record.status === "interrupted" ? html`<${Interrupts} run=${run} isLast=${isLast} />` : null}
      <${Facts} run=${run} />
    </div></div></article>`;
}

function Question({ run }) {
  const { record } = run;
  const edit = () => editTurn(run);
  const resend = () => sessions.send(record.body, record.input, { background: record.background });
  const isOwn = record.input.mode !== "answer" && record.input.mode !== "attached";
  return html`<div class="question"><h3 class="who">${record.input.mode === "attached" ? t("attached") : t("you")}</h3>
    <div class="asked">${record.input.mode === "prompt" || record.input.mode === "answer" ? record.input.text : html`<code>${record.input.text || record.id}</code>`}
      ${(record.input.files ?? []).map((file) => html` <span class="chip">${file.name} · ${bytes(file.size)}</span>`)}</div>
    ${isOwn ? html`<div class="actions"><button type="button" class="small quiet" onClick=${edit}>${t("edit")}</button>
      <button type="button" class="small quiet" disabled=${sessions.active !== null} onClick=${resend}>${t("resend")}</button></div>` : null}</div>`;
}

/** Put a message back into the box; sending replaces it and what followed. */
export function editTurn(run) {
  const { input, body, key } = run.record;
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    value = undefined;
  }
  ui.setDraft(sessions.current, { mode: input.mode, text: input.text, json: JSON.stringify(value, null, 2), value, files: input.files ?? [], editing: key });
  focusBox();
}

function Progress({ value }) {
  if (value === undefined) return null;
  const share = shareOf(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return html`<div class="progress"><progress aria-label=${t("progress")} max="1" value=${share ?? undefined}></progress> <span class="mono">${text}</span></div>`;
}

/** Return how much of the work is done, 0 to 1, where a report of progress says so; null where not. */
export function shareOf(value) {
  if (typeof value === "number") return value <= 1 ? value : value / 100;
  if (typeof value !== "object" || value === null) return null;
  const done = value.done ?? value.current ?? value.step ?? value.completed;
  const total = value.total ?? value.of ?? value.steps;
  if (typeof done === "number" && total > 0) return done / total;
  const share = value.progress ?? value.fraction ?? (value.percent === undefined ? undefined : value.percent / 100);
  return typeof share === "number" ? share : null;
}

function Outcome({ run }) {
  const { record } = run;
  const { status, error } = record;
  const resumed = record.marks.at(-1);
  const [clock, setClock] = useState(now());
  useEffect(() => {
    if (!run.isLive) return undefined;
    const timer = setInterval(() => setClock(now()), 1000);
    return () => clearInterval(timer);
  }, [run.isLive]);
  if (run.stopError) return html`<p class="error" role="alert">${t("stop_failed", { error: run.stopError })}</p>`;
  if (run.isLive && run.stopping) return html`<p class="hint">${t("stopping")}</p>`;
  if (status === "cut") return html`<p class="warning" role="status">${run.held ? t("cut_held") : t("cut", { n: record.attempts })}</p>`;
  if (status === "streaming") {
    const quiet = run.heardAt === null ? 0 : clock - run.heardAt;
    return html`${resumed && clock - resumed.at < RESUMED_MS ? html`<p class="hint" role="status">${t("resumed_after", { n: resumed.after })}</p>` : null}
      ${quiet > 3000 ? html`<p class="hint">${t("alive", { ago: span(quiet) })}</p>` : null}`;
  }
  if (status === "stopped") return html`<p class="warning">${t("stopped")}</p>`;
  if (status !== "failed") return null;
  return html`<div class="failure" role="alert"><strong>${error.type}</strong>${error.status >= 400 ? html` <span class="chip">HTTP ${error.status}</span>` : null}
    <p>${error.message}</p>${error.retryAfter ? html`<p>${t("retry_after", { n: error.retryAfter })}</p>` : null}
    ${error.frames?.length ? html`<${Frames} frames=${error.frames} />` : null}
    ${error.requestId ? html`<p class="hint">${t("request_id")} <code>${error.requestId}</code></p>` : null}
    ${record.body ? html`<button type="button" class="small" disabled=${sessions.active !== null}
      onClick=${() => sessions.send(record.body, record.input, { background: record.background })}>${t("resend")}</button>` : null}</div>`;
}

/** Where the agent's own code failed, the innermost frame first. */
const Frames = ({ frames }) =>
  html`<ol class="frames scroll mono" tabindex="0" aria-label=${t("failed_at")}>${frames.toReversed().map((each, index) => html`<li key=${index}>
    <span class="hint">${each.file}:${each.line} ${each.function}</span><br />${each.source}</li>`)}</ol>`;

function Facts({ run }) {
  const { record, view } = run;
  if (!view.count && run.isLive) return null;
  const ended = run.isLive ? now() : (record.endedAt ?? view.lastAt ?? record.createdAt);
  const tokens = (view.usage ?? []).reduce((sum, each) => sum + (each.inputTokens ?? 0) + (each.outputTokens ?? 0), 0);
  const facts = [
    view.count ? t("first_event", { span: span(view.firstAt - record.createdAt) }) : null,
    t("in_all", { span: span(ended - record.createdAt) }),
    ...(view.count ? [t("events_count", { n: count(view.count) }), bytes(view.bytes)] : []),
    tokens ? t("tokens", { n: count(tokens) }) : null,
  ];
  return html`<p class="facts">${facts.filter(Boolean).join(" · ")}
    <span><button type="button" class="small quiet" onClick=${() => ui.go("events", record.key)}>${t("events")}</button>
      <button type="button" class="small quiet" onClick=${() => ui.go("run", record.key)}>${t("run")}</button></span></p>`;
}
