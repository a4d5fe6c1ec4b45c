// The spans of the last runs as bars over time. Places and widths are set by script, which the policy allows.

import { useEffect, useState } from "preact/hooks";
import { Code } from "../code.js";
import { getJSON } from "../api.js";
import { oneLine, span, time } from "../format.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { usePolled } from "./run.js";

const SHOWN_RUNS = 20;

export function Traces() {
  const [listed] = usePolled("console/runs");
  const [chosen, choose] = useState(null);
  if (listed === undefined) return null;
  const runs = (listed?.runs ?? []).filter((run) => run.spans).slice(0, SHOWN_RUNS);
  if (listed === null || !runs.length) return html`<p class="hint">${t(listed === null ? "traces_not_told" : "no_runs")}</p>`;
  const run = runs.find((each) => each.id === chosen) ?? runs[0];
  return html`<label class="chooser"><span>${t("choose_run")}</span><select value=${run.id} onChange=${(event) => choose(event.target.value)}>
      ${runs.map((each) => html`<option key=${each.id} value=${each.id} selected=${each.id === run.id}>${time(each.created_at * 1000).slice(0, 8)} · ${t(`state_${each.state}`)} · ${span(each.duration_seconds * 1000)} · ${each.id.slice(0, 8)}</option>`)}</select></label>
    <${Waterfall} key=${run.id} id=${run.id} state=${run.state} />`;
}

function Waterfall({ id, state }) {
  const [trace, setTrace] = useState(null);
  const [opened, setOpened] = useState(null);
  useEffect(() => {
    getJSON(`console/spans?run=${encodeURIComponent(id)}`).then(setTrace, () => setTrace(null));
  }, [id, state]);
  if (!trace?.spans.length) return html`<p class="hint">${t("traces_not_told")}</p>`;
  const { spans } = trace;
  const begin = spans[0].started_at;
  const ends = spans.map((each) => each.started_at + (each.duration_seconds ?? 0));
  const whole = Math.max(...ends, begin + 0.001) - begin;
  const depths = new Map();
  for (const each of spans) depths.set(each.id, (depths.get(each.parent_id) ?? -1) + 1);
  return html`<ol class="waterfall" aria-label=${t("spans_of", { id })}>${spans.map((each) => html`<${Bar} key=${each.id} span_=${each} depth=${depths.get(each.id)}
      left=${(each.started_at - begin) / whole} width=${(each.duration_seconds ?? whole - (each.started_at - begin)) / whole} isOpen=${each.id === opened}
      onOpen=${() => setOpened(each.id === opened ? null : each.id)} />`)}</ol>`;
}

function Bar({ span_: each, depth, left, width, isOpen, onOpen }) {
  const place = (bar) => {
    if (!bar) return;
    bar.style.left = `${100 * left}%`;
    bar.style.width = `${Math.max(0.3, 100 * width)}%`;
  };
  const indent = (name) => name && (name.style.paddingLeft = `${0.8 * depth}rem`);
  const took = each.duration_seconds === null ? t("open_span") : span(each.duration_seconds * 1000);
  return html`<li><button type="button" class="quiet bar-row" aria-expanded=${isOpen ? "true" : "false"} onClick=${onOpen}>
      <span class="bar-name" ref=${indent}>${each.name}${each.error ? html` <span class="error">${each.error}</span>` : null}</span>
      <span class="bar-track"><span class=${`bar ${each.kind} ${each.status}`} ref=${place}></span></span><span class="took">${took}</span></button>
    ${isOpen ? html`<${Code} text=${JSON.stringify({ kind: each.kind, status: each.status, ...each.attributes }, null, 2)} language="json" label=${oneLine(each.name)} />` : null}</li>`;
}
