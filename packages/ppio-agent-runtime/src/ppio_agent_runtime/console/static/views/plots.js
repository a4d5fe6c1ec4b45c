// Small plots of the agent's numbers, each with the same said in words.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { bytes, count, span } from "../format.js";
import { html, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { metrics, PLOTS, withGaps } from "../metrics.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const HEIGHT = 90;
let loading = null;

/** Load uPlot, a script that sets a global. It stands in a template: the page's policy lets nobody make a script's address. */
const loadUPlot = () =>
  (loading ??= new Promise((resolve, reject) => {
    const copy = document.getElementById("uplot").content.cloneNode(true);
    Object.assign(copy.querySelector("script"), { onload: resolve, onerror: reject });
    document.head.append(copy);
  }).catch(() => (loading = null))); // the next time that the view opens

export function Plots() {
  const { isTold, samples } = useObservable(metrics);
  const [isLoaded, setLoaded] = useState(false);
  const [isDark, setDark] = useState(DARK.matches);
  useEffect(() => {
    loadUPlot().then(() => setLoaded("uPlot" in globalThis));
    metrics.look();
    const changed = () => setDark(DARK.matches);
    DARK.addEventListener("change", changed);
    return () => DARK.removeEventListener("change", changed);
  }, []);
  if (isTold === false) return html`<p class="hint">${t("metrics_not_told")}</p>`;
  const shown = withGaps(samples);
  const times = shown.map((sample) => sample.at / 1000);
  return html`<div class="plots">${PLOTS.map(([name, unit, valuesOf]) => html`<${Plot} key=${`${name} ${isDark}`} name=${t(name)} unit=${unit} times=${times} values=${valuesOf(shown)} isLoaded=${isLoaded} />`)}</div>`;
}

function written(value, unit) {
  if (value === null) return "–";
  if (unit === "ms") return span(value);
  if (unit.startsWith("B")) return `${bytes(value)}${unit.slice(1)}`;
  return `${count(value)}${unit && ` ${unit}`}`;
}

function Plot({ name, unit, times, values, isLoaded }) {
  const place = useRef(null);
  const plot = useRef(null);
  useLayoutEffect(() => {
    if (!isLoaded) return undefined;
    const colours = getComputedStyle(document.documentElement);
    const colour = (variable) => colours.getPropertyValue(variable).trim();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const options = {
      width: place.current.clientWidth || 240,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: (_, low, high) => [low - 1, high + 1] }, y: { range: (_, low, high) => [0, 1.1 * (high || 1)] } },
      axes: [{ ...axis, show: false }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => written(tick, unit)), space: 24 }],
      series: [{}, { stroke: colour("--accent"), width: 1.5, points: { show: true, size: 3 } }],
    };
    plot.current = new globalThis.uPlot(options, [times, values], place.current);
    const fit = new ResizeObserver(() => plot.current?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    fit.observe(place.current);
    return () => {
      fit.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [isLoaded]);
  useLayoutEffect(() => plot.current?.setData([times, values]), [times.length, times.at(-1)]);
  const known = values.filter((value) => value !== null);
  const now = known.at(-1) ?? null;
  const text = t("plot_text", { name, now: written(now, unit), low: written(known.length ? Math.min(...known) : null, unit), high: written(known.length ? Math.max(...known) : null, unit) });
  return html`<figure><figcaption>${name} <strong>${written(now, unit)}</strong></figcaption><div ref=${place} role="img" aria-label=${text} class="plot"></div></figure>`;
}
