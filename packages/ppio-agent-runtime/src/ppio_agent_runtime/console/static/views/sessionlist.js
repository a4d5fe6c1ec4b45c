// The sessions: open, new, rename, delete.

import { useState } from "preact/hooks";
import { ago } from "../format.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { sessions } from "../sessions.js";
import { problem } from "../store.js";
import { focusBox, focusOn } from "../ui.js";

export function SessionList() {
  const [renaming, setRenaming] = useState(null);
  const [deleting, setDeleting] = useState(null);
  return html`<aside class="sessions" aria-label=${t("sessions")}>
    <div class="head"><h2>${t("sessions")}</h2><button type="button" class="small" onClick=${async () => { await sessions.create(); focusBox(); }}>${t("new_session")}</button></div>
    ${problem === null ? null : html`<p class="warning">${t("history_off", { problem })}</p>`}
    <ul>${sessions.list.map((session) => {
      const title = session.title || t("untitled");
      const isCurrent = session.id === sessions.current;
      if (renaming === session.id) return html`<li key=${session.id}><${Rename} session=${session} onEnd=${() => { setRenaming(null); focusOn(rowOf(session.id)); }} /></li>`;
      if (deleting === session.id) return html`<li key=${session.id} class="confirm"><${Confirm} title=${title} session=${session} onEnd=${() => { setDeleting(null); focusOn(rowOf(session.id)); }} /></li>`;
      return html`<li key=${session.id} class=${isCurrent ? "current" : ""}>
        <button type="button" class="open quiet" aria-current=${isCurrent ? "true" : undefined} title=${title} data-session=${session.id} onClick=${() => sessions.open(session.id)}>
          ${sessions.isRunning(session.id) ? html`<span class="dot busy" role="img" aria-label=${t("running")}></span>` : null}
          <span class="title">${title}</span> <span class="hint">${ago(session.updatedAt)}</span></button>
        <span class="row-actions"><button type="button" class="small quiet" aria-label=${t("rename_it", { title })} title=${t("rename")} onClick=${() => setRenaming(session.id)}>✎</button>
        <button type="button" class="small quiet" aria-label=${t("delete_it", { title })} title=${t("delete")} onClick=${() => setDeleting(session.id)}>✕</button></span></li>`;
    })}</ul></aside>`;
}

const rowOf = (id) => `[data-session="${id}"]`;

function Rename({ session, onEnd }) {
  const keep = (event) => {
    event.preventDefault();
    sessions.rename(session.id, event.currentTarget.elements.title.value);
    onEnd();
  };
  const keys = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onEnd();
  };
  return html`<form class="rename" onSubmit=${keep}><input name="title" aria-label=${t("session_name")} value=${session.title} maxlength="60" onKeyDown=${keys}
    ref=${(input) => input && document.activeElement !== input && input.select()} /><button type="submit" class="small">${t("save")}</button></form>`;
}

function Confirm({ title, session, onEnd }) {
  return html`<span class="title">${t("delete_question", { title })}</span>
    <button type="button" class="small danger" ref=${(button) => button?.focus()} onClick=${async () => { await sessions.delete(session.id); focusOn(rowOf(sessions.current)); }}>${t("delete")}</button>
    <button type="button" class="small" onClick=${onEnd}>${t("cancel")}</button>`;
}
