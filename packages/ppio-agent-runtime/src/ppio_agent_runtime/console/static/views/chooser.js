// Which run of the session Events and Run show.

import { time } from "../format.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { sessions } from "../sessions.js";
import { ui } from "../ui.js";

/** Return the run that is chosen, the newest of the session where none is; null where there is none. */
export const chosenRun = () => sessions.shown.find((run) => run.record.key === ui.run) ?? sessions.shown.at(-1) ?? null;

export function RunChooser() {
  const chosen = chosenRun();
  if (!chosen) return null;
  return html`<label class="chooser"><span>${t("choose_run")}</span><select value=${chosen.record.key} onChange=${(event) => ui.set({ run: event.target.value })}>
    ${sessions.shown.map(({ record }) => html`<option key=${record.key} value=${record.key} selected=${record.key === chosen.record.key}>
      ${time(record.createdAt).slice(0, 8)} · ${t(`state_${record.status}`)} · ${(record.input.text || record.id || "").slice(0, 40)}</option>`)}</select></label>`;
}
