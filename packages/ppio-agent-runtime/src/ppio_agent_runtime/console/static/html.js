// Preact's templates without a build step, and a hook that draws a component anew when a store changes.

import { h } from "preact";
import { useEffect, useReducer } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);

const SHORTEST_MS = 50;

/** Something that changes and that components show. Changes are drawn together, at most every 50 ms. */
export class Observable {
  #listeners = new Set();
  #timer = null;
  #drawingMs = 0;

  /** Grows with each drawing. */
  version = 0;

  /** Call `listener` after changes; returns a function that ends it. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Say that something changed. Slow drawing makes the next one wait longer, so that the page stays usable. */
  changed() {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.flush();
    }, Math.max(SHORTEST_MS, Math.min(1000, 2 * this.#drawingMs)));
  }

  /** Draw now. */
  flush() {
    const started = performance.now();
    this.version++;
    for (const listener of [...this.#listeners]) listener();
    this.#drawingMs = performance.now() - started;
  }
}

/** Draw the calling component whenever the observable changes. */
export function useObservable(observable) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const { version } = observable;
  useEffect(() => {
    if (observable.version !== version) redraw(); // it changed before this effect ran
    return observable.subscribe(redraw);
  }, [observable]);
  return observable;
}

/** Return the time in milliseconds since 1970, with fractions. */
export const now = () => performance.timeOrigin + performance.now();

/** Return a random id of 32 hex digits; `randomUUID` exists on https and localhost only. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
