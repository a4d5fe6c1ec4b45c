// A part that is folded at first. What is inside is made when it is opened.

import { useEffect, useState } from "preact/hooks";
import { html, useObservable } from "../html.js";
import { ui } from "../ui.js";

export function Fold({ summary, children, className = "", startsOpen = false }) {
  const { folds } = useObservable(ui);
  const [open, setOpen] = useState(startsOpen);
  useEffect(() => {
    if (folds) setOpen(false);
  }, [folds]);
  const toggle = (event) => {
    event.preventDefault();
    setOpen(!open);
  };
  return html`<details class=${`fold ${className}`} open=${open}><summary onClick=${toggle}>${summary}</summary>
    ${open ? html`<div class="folded">${children()}</div>` : null}</details>`;
}
