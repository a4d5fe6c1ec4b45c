// The conversation of the session that is open. Follows its end only while the reader is at the end.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { html, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { sessions } from "../sessions.js";
import { Composer } from "./composer.js";
import { SessionList } from "./sessionlist.js";
import { Turn } from "./turn.js";

const END_PIXELS = 40;
const SHOWN_TURNS = 30;

export function Conversation() {
  useObservable(sessions);
  if (sessions.current === null) return null; // the history is being loaded
  return html`<div class="conversation"><${SessionList} /><div class="chat"><${Log} key=${sessions.current} /><${Composer} key=${`box ${sessions.current}`} /></div></div>`;
}

function Log() {
  const place = useRef(null);
  const follows = useRef(true);
  const [seen, setSeen] = useState(null); // events that were there when the reader let go
  const [shown, setShown] = useState(SHOWN_TURNS);
  const runs = sessions.shown;
  const total = runs.reduce((sum, run) => sum + run.view.count, 0);
  useLayoutEffect(() => {
    if (follows.current) place.current.scrollTop = place.current.scrollHeight;
  });
  const follow = (on) => {
    if (follows.current === on) return;
    follows.current = on;
    setSeen(on ? null : total);
  };
  const scrolled = ({ currentTarget: box }) => follow(box.scrollHeight - box.scrollTop - box.clientHeight < END_PIXELS);
  const wheel = (event) => event.deltaY < 0 && place.current.scrollTop > 0 && follow(false);
  const toEnd = () => {
    follow(true);
    place.current.scrollTop = place.current.scrollHeight;
  };
  const hidden = Math.max(0, runs.length - shown);
  return html`<div class="logbox"><section class="log" role="log" tabindex="0" aria-label=${t("conversation")} aria-live="polite" aria-busy=${sessions.active ? "true" : "false"}
      ref=${place} onScroll=${scrolled} onWheel=${wheel}>
      ${hidden ? html`<button type="button" class="small" onClick=${() => setShown(shown + SHOWN_TURNS)}>${t("show_earlier", { n: hidden })}</button>` : null}
      ${runs.length ? null : html`<p class="empty">${t("empty")}<br /><span class="hint">${t("empty_more")}</span></p>`}
      ${runs.slice(hidden).map((run, index) => html`<${Turn} key=${run.record.key} run=${run} isLast=${hidden + index === runs.length - 1} />`)}
    </section>
    ${seen === null ? null : html`<button type="button" class="toend" onClick=${toEnd}>↓ ${total > seen ? t("new_events", { n: total - seen }) : t("to_end")}</button>`}</div>`;
}
