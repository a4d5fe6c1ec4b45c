// The page: its head with the views, the one that is open, and what lies above.

import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { agent } from "./agent.js";
import { onKeyWanted } from "./api.js";
import { html, useObservable } from "./html.js";
import { t } from "./i18n.js";
import { listen, SHORTCUTS } from "./keys.js";
import { metrics } from "./metrics.js";
import { sessions } from "./sessions.js";
import { focusBox, ui, VIEWS } from "./ui.js";
import { Conversation } from "./views/conversation.js";
import { Events } from "./views/events.js";
import { RunView } from "./views/run.js";
import { Service } from "./views/service.js";

const SHOWN = { conversation: Conversation, events: Events, run: RunView, service: Service };

function Page() {
  useObservable(ui);
  const View = SHOWN[ui.view];
  return html`<${Head} /><main id="view" class=${ui.view}><${View} /></main><${Sheet} />`;
}

function Head() {
  useObservable(agent);
  useObservable(sessions);
  const status = agent.status ?? "unknown";
  const running = [...sessions.runs.values()].flat().filter((run) => run.isLive).length;
  const title = agent.name ?? t("page");
  useEffect(() => {
    document.title = agent.name ? `${agent.name} · ${t("page")}` : t("page");
  }, [agent.name]);
  return html`<header><h1>${title}</h1>
    <div class="status" role="status" title=${agent.pings.at(-1)?.message ?? ""}><span class=${`dot ${status}`} aria-hidden="true"></span>
      ${t(`status_${status}`)}${running ? ` · ${t("running_count", { n: running })}` : ""}${ui.notice ? ` · ${ui.notice}` : ""}</div>
    <nav aria-label=${t("views")}>${VIEWS.map((view) => html`<a key=${view} href=${`#${view}`} aria-current=${view === ui.view ? "page" : undefined}>${t(view)}</a>`)}</nav>
    <button type="button" class="small quiet" aria-label=${t("shortcuts")} title=${t("shortcuts")} onClick=${() => ui.set({ sheet: "keys" })}>?</button>
    ${agent.isLocked ? html`<p class="warning locked">${t("key_title")} <button type="button" class="small" onClick=${() => agent.unlock()}>${t("key_enter")}</button></p>` : null}</header>`;
}

function Sheet() {
  const dialog = useRef(null);
  useEffect(() => {
    if (ui.sheet && !dialog.current.open) dialog.current.showModal();
    if (!ui.sheet) dialog.current.close();
  }, [ui.sheet]);
  return html`<dialog ref=${dialog} aria-label=${t("shortcuts")} onClose=${() => ui.set({ sheet: null })}>
    <h2>${t("shortcuts")}</h2><table><tbody>${SHORTCUTS.map(([keys, word]) => html`<tr key=${word}><th scope="row"><kbd>${keys}</kbd></th><td>${t(word)}</td></tr>`)}</tbody></table>
    <label class="check"><input type="checkbox" checked=${ui.letterKeys} onChange=${(event) => ui.setLetterKeys(event.target.checked)} /> ${t("keys_letters")}</label>
    <div class="buttons"><button type="button" onClick=${() => dialog.current.close()}>${t("close")}</button></div></dialog>`;
}

/** Ask for the agent's key in a dialog of its own, above whatever is shown. */
function askForKey(wasRefused) {
  return new Promise((resolve) => {
    const place = document.body.appendChild(document.createElement("div"));
    const end = (key) => {
      render(null, place);
      place.remove();
      resolve(key);
    };
    const submit = (event) => {
      event.preventDefault();
      const key = event.currentTarget.elements.key.value;
      end(key === "" ? null : key);
    };
    render(html`<dialog aria-labelledby="key-title" onCancel=${() => end(null)} ref=${(dialog) => dialog && !dialog.open && dialog.showModal()}>
      <form onSubmit=${submit}><h2 id="key-title">${t("key_title")}</h2><p id="key-text">${wasRefused ? html`<strong class="error">${t("key_refused")}</strong> ` : null}${t("key_text")}</p>
        <label for="key" class="sub">${t("key_label")}</label><input id="key" name="key" type="password" autocomplete="off" aria-describedby="key-text" />
        <div class="buttons"><button type="submit" class="primary">${t("key_use")}</button><button type="button" onClick=${() => end(null)}>${t("cancel")}</button></div></form></dialog>`, place);
  });
}

onKeyWanted(askForKey);
listen();
render(html`<${Page} />`, document.getElementById("app"));
agent.start();
metrics.start();
await sessions.start();
if (document.activeElement === document.body) focusBox();
