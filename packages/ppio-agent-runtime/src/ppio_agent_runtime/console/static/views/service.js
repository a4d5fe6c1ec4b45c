// The service: health, numbers, settings, log, traces.

import { agent } from "../agent.js";
import { count, dateTime, span, time } from "../format.js";
import { html, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { usePolled } from "./run.js";
import { Log } from "./log.js";
import { Plots } from "./plots.js";
import { Traces } from "./waterfall.js";

export function Service() {
  useObservable(agent);
  return html`<div class="serviceview"><${Pings} /><${InFlight} />
    <section aria-label=${t("numbers")}><h2>${t("numbers")}</h2><${Plots} /></section>
    <section aria-label=${t("traces")}><h2>${t("traces")}</h2><${Traces} /></section>
    <section aria-label=${t("log")}><h2>${t("log")}</h2><${Log} /></section>
    <${Settings} /></div>`;
}

function Pings() {
  const { pings } = agent;
  const times = pings.map((ping) => ping.ms).filter((ms) => ms !== null);
  const bad = pings.filter((ping) => !ping.status.startsWith("Healthy")).length;
  const last = pings.at(-1);
  const text = t("ping_text", { n: count(pings.length), bad: count(bad), last: span(last?.ms), slowest: span(times.length ? Math.max(...times) : null) });
  const height = (bar, ping) => bar && (bar.style.height = `${Math.min(100, 15 + 85 * Math.min(1, (ping.ms ?? 1000) / 200))}%`);
  return html`<section aria-label=${t("ping_history")}><h2>${t("ping_history")} <span class="hint">${text}</span></h2>
    <div class="pings" role="img" aria-label=${text}>${pings.slice(-120).map((ping) => html`<span key=${ping.at} class=${ping.status} title=${`${time(ping.at)} ${t(`status_${ping.status}`)} ${span(ping.ms)}`} ref=${(bar) => height(bar, ping)}></span>`)}</div>
    ${last?.message ? html`<p class="hint">${last.message}</p>` : null}</section>`;
}

function InFlight() {
  const [listed] = usePolled("console/runs");
  if (!listed) return null;
  const running = listed.runs.filter((run) => ["queued", "running"].includes(run.state));
  return html`<section aria-label=${t("in_flight")}><h2>${t("in_flight")} <span class="chip">${count(running.length)}</span></h2>
    ${running.length ? html`<ul class="inflight">${running.map((run) => html`<li key=${run.id}><code>${run.id.slice(0, 12)}…</code> ${t(`state_${run.state}`)} · ${span(run.duration_seconds * 1000)}${run.session_id ? ` · ${run.session_id.slice(0, 16)}` : ""}</li>`)}</ul>` : null}</section>`;
}

function Settings() {
  const { settings } = agent;
  if (!settings) return html`<section aria-label=${t("settings")}><h2>${t("settings")}</h2><p class="hint">${t("settings_not_told")}</p></section>`;
  const facts = [settings.agent, `${settings.version}`, `Python ${settings.python}`, `pid ${settings.pid}`, t("started_at", { at: dateTime(settings.started_at * 1000) })];
  const changed = (setting) => (setting.origin === "default" ? 1 : 0);
  const rows = [...settings.settings].sort((a, b) => changed(a) - changed(b));
  return html`<section class="scroll" tabindex="0" aria-label=${t("settings")}><h2>${t("settings")} <span class="hint">${facts.filter(Boolean).join(" · ")}</span></h2>
    <table class="grid"><thead><tr><th scope="col">${t("setting")}</th><th scope="col">${t("value")}</th><th scope="col">${t("origin")}</th></tr></thead><tbody>
    ${rows.map((each) => html`<tr key=${each.name} title=${each.description}><th scope="row" class="mono">${each.name}</th><td class="mono">${JSON.stringify(each.value)}</td>
      <td>${t(`origin_${each.origin}`)}${each.origin === "environment" ? html` <code>${each.variable}</code>` : null}</td></tr>`)}</tbody></table></section>`;
}
