// What of the page is open: the view, the run that Events and Run show, sheets; and drafts of messages.

import { Observable } from "./html.js";

export const VIEWS = ["conversation", "events", "run", "service"];

class UI extends Observable {
  sheet = null; // "keys", or null
  run = null; // key of the run that Events and Run show; null for the newest
  folds = 0; // grows when all that is unfolded is to fold
  notice = ""; // said in the status line for some seconds
  filter = ""; // of Events
  letterKeys = localStorage.getItem("ppio-console-letter-keys") !== "off";
  #drafts = new Map();
  #timer = null;

  get view() {
    const view = location.hash.slice(1);
    return VIEWS.includes(view) ? view : "conversation";
  }

  go(view, run) {
    if (run !== undefined) this.run = run;
    location.hash = view;
    this.flush();
  }

  set(change) {
    Object.assign(this, change);
    this.flush();
  }

  setLetterKeys(on) {
    localStorage.setItem("ppio-console-letter-keys", on ? "on" : "off");
    this.set({ letterKeys: on });
  }

  foldAll() {
    this.set({ folds: this.folds + 1 });
  }

  notify(text) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.set({ notice: "" }), 5000);
    this.set({ notice: text });
  }

  /** The message that is being written in a session: `{mode, text, json, value, files, editing}`. */
  draft(session) {
    if (!this.#drafts.has(session)) this.#drafts.set(session, { mode: null, text: "", json: "{}", value: undefined, files: [], editing: null });
    return this.#drafts.get(session);
  }

  setDraft(session, change) {
    this.#drafts.set(session, { ...this.draft(session), ...change });
    this.flush();
  }
}

export const ui = new UI();

/** Move the focus to the first element that a selector finds, once it is drawn. */
export const focusOn = (selector) => setTimeout(() => document.querySelector(selector)?.focus());

/** Move the focus to where a message is written: the box, or the first field of the form. */
export const focusBox = () => focusOn("#message:not([tabindex]), #message :is(input, select, textarea)");

addEventListener("hashchange", () => ui.flush());
