// A JSON value as a tree, with marks at what an event has changed.

import { html } from "../html.js";
import { t } from "../i18n.js";
import { oneLine } from "../format.js";
import { isContainer } from "../patch.js";

const MAX_CHILDREN = 200;

/** @param props.changes Paths that changed, from `differences`. */
export function Tree({ value, changes = new Map(), label }) {
  return html`<ul class="tree mono" aria-label=${label}><${Node} value=${value} path="" changes=${changes} depth=${0} /></ul>`;
}

function Node({ name, value, path, changes, depth }) {
  const mark = changes.get(path);
  const label = name === undefined ? null : html`<span class="name">${name}</span>: `;
  const noted = mark && path ? html` <span class=${`mark ${mark}`}>${t(mark)}</span>` : null;
  if (!isContainer(value)) return html`<li>${label}<span class=${`type-${typeof value}`}>${JSON.stringify(value)}</span>${noted}</li>`;
  const entries = Object.entries(value);
  if (!entries.length) return html`<li>${label}${Array.isArray(value) ? "[]" : "{}"}${noted}</li>`;
  const isInside = [...changes.keys()].some((each) => each.startsWith(`${path}/`));
  const removed = [...changes].filter(([each, kind]) => kind === "removed" && each.startsWith(`${path}/`) && !each.slice(path.length + 1).includes("/"));
  return html`<li><details open=${depth < 2 || isInside}><summary>${label}<span class="hint">${oneLine(value, 60)}</span>${noted}</summary><ul>
    ${entries.slice(0, MAX_CHILDREN).map(([key, child]) => html`<${Node} key=${key} name=${key} value=${child} depth=${depth + 1} changes=${changes}
      path=${`${path}/${key}`} />`)}
    ${removed.map(([each]) => html`<li key=${each}><span class="name">${each.slice(path.length + 1)}</span> <span class="mark removed">${t("removed")}</span></li>`)}
    ${entries.length > MAX_CHILDREN ? html`<li class="hint">… ${entries.length - MAX_CHILDREN}</li>` : null}</ul></details></li>`;
}
