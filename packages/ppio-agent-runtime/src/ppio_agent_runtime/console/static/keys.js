// Keyboard shortcuts. Single letters count outside of fields only, and can be switched off (WCAG 2.1.4).

import { sessions } from "./sessions.js";
import { focusBox, focusOn, ui, VIEWS } from "./ui.js";

/** What the sheet lists: keys and the word for what they do. */
export const SHORTCUTS = [
  ["Enter / Shift+Enter", "keys_send"],
  ["Escape", "keys_stop"],
  ["↑", "keys_edit_last"],
  ["/", "keys_box"],
  ["?", "keys_sheet"],
  ["g c · g e · g r · g s", "keys_views"],
  ["n", "keys_new"],
  ["[ · ]", "keys_step"],
  ["f", "keys_filter"],
  ["j · k · Enter", "keys_move"],
  ["a · x", "keys_answer"],
  ["t", "keys_fold"],
];

const GO_MS = 1500;
let wentAt = -Infinity;

const LETTERS = {
  "/": () => { ui.go("conversation"); focusBox(); },
  "?": () => ui.set({ sheet: "keys" }),
  n: () => { ui.go("conversation"); sessions.create(); focusBox(); },
  "[": () => sessions.step(-1),
  "]": () => sessions.step(1),
  f: () => { ui.go("events"); focusOn("#filter"); },
  t: () => ui.foldAll(),
};

/** Stop the answer; where there is none, do not edit; else leave the field, so that letters are shortcuts again. */
function leave(field) {
  const { current, active } = sessions;
  if (active) active.stop();
  else if (current && ui.draft(current).editing) ui.setDraft(current, { editing: null, text: "" });
  else field.blur?.();
}

function pressed(event) {
  if (event.isComposing || event.keyCode === 229 || event.defaultPrevented) return;
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) leave(event.target);
  const inField = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable], dialog");
  if (inField || !ui.letterKeys || event.ctrlKey || event.metaKey || event.altKey) return;
  const went = event.timeStamp - wentAt < GO_MS ? VIEWS.find((view) => view[0] === event.key) : undefined;
  wentAt = event.key === "g" ? event.timeStamp : -Infinity;
  const act = went ? () => ui.go(went) : Object.hasOwn(LETTERS, event.key) ? LETTERS[event.key] : null;
  if (!act) return;
  event.preventDefault();
  act();
}

/** Listen from now on. */
export function listen() {
  addEventListener("keydown", pressed);
}
