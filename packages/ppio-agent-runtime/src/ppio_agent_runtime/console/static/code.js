// Code with colours. highlight.js is loaded with the first block that it knows the language of.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { fromHighlighter } from "./sanitize.js";

const LANGUAGES = {
  json: "json", jsonl: "json", python: "python", py: "python", bash: "bash", sh: "bash", shell: "bash", console: "bash",
  javascript: "javascript", js: "javascript", typescript: "javascript", ts: "javascript", yaml: "yaml", yml: "yaml",
  sql: "sql", xml: "xml", html: "xml", svg: "xml", diff: "diff", patch: "diff",
};
const MAX_CHARS = 100_000;
const loaded = new Map();

function load(name) {
  if (!loaded.has(name)) {
    loaded.set(name, Promise.all([import("highlight/core"), import(`highlight/${name}`)]).then(([core, language]) => {
      core.default.registerLanguage(name, language.default);
      return core.default;
    }));
  }
  return loaded.get(name);
}

/** A block of code that scrolls inside itself, with its language and a button that copies it. */
export function Code({ text, language = "", isOver = true, label }) {
  const place = useRef(null);
  const word = (language || "").trim().split(/\s/)[0].toLowerCase();
  useLayoutEffect(() => {
    const code = place.current;
    code.textContent = text;
    const name = Object.hasOwn(LANGUAGES, word) ? LANGUAGES[word] : null;
    if (!isOver || name === null || text.length > MAX_CHARS) return undefined;
    let isGone = false;
    load(name).then((highlighter) => {
      if (isGone) return;
      const { value } = highlighter.highlight(text, { language: name, ignoreIllegals: true });
      code.replaceChildren(fromHighlighter(value));
    }, () => {});
    return () => (isGone = true);
  }, [text, word, isOver]);
  return html`<div class="codeblock"><div class="codehead"><span>${word}</span><${Copy} text=${text} /></div>
    <pre class="scroll" tabindex="0" role="group" aria-label=${label ?? (word ? t("code_in", { name: word }) : t("code"))}><code ref=${place}></code></pre></div>`;
}

/** A button that copies text. */
export function Copy({ text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="small quiet" onClick=${copy}>${done ? t("copied") : t("copy")}</button>`;
}
