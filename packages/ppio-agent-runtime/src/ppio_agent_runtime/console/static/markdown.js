// Markdown of an agent, as nodes that cannot run anything: raw HTML is shown as text, marked's own goes through DOMPurify.
// Images of other hosts are links: loading one would tell that host what the address says.

import { useLayoutEffect, useRef } from "preact/hooks";
import { Marked } from "marked";
import { Code } from "./code.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { DATA_IMAGE, fromMarkdown } from "./sanitize.js";

const escape = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    image: ({ href, text }) =>
      DATA_IMAGE.test(href)
        ? `<img src="${escape(href)}" alt="${escape(text)}">`
        : `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});

/** Return what tokens of marked look like, as a fragment that DOMPurify made. */
function fragmentOf(tokens) {
  const fragment = fromMarkdown(marked.parser(tokens));
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    link.title = link.href;
    const host = link.href.startsWith("mailto:") ? "" : (URL.canParse(link.href) && new URL(link.href).host);
    if (host && !link.textContent.includes(host)) link.append(` (${host})`);
  }
  for (const wide of fragment.querySelectorAll("pre, table")) {
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", wide.tagName === "PRE" ? t("code") : t("table"));
    wide.replaceWith(box);
    box.append(wide);
  }
  return fragment;
}

/** Splits growing text into blocks. Only what follows the last finished block is looked at again. */
class Blocks {
  #done = []; // blocks that are finished, as components: the same objects are not drawn again
  #parsed = 0; // characters of the text that are in `done`
  #text = null;
  #isOver = false;
  #shown = [];

  /** Return the components of `text`; `isOver` once no more of it comes. */
  of(text, isOver) {
    if (text === this.#text && isOver === this.#isOver) return this.#shown;
    if (this.#text !== null && !text.startsWith(this.#text)) {
      this.#done = [];
      this.#parsed = 0;
    }
    this.#text = text;
    this.#isOver = isOver;
    const refers = isOver && /^ {0,3}\[[^\]]+\]:/m.test(text); // references may point forward
    this.#shown = refers ? marked.lexer(text).filter(isShown).map((token, index) => block([token], index, true)) : this.#grown(text, isOver);
    return this.#shown;
  }

  #grown(text, isOver) {
    const tokens = marked.lexer(text.slice(this.#parsed));
    const last = tokens.findLastIndex(isShown);
    for (const token of tokens.slice(0, Math.max(0, last))) {
      this.#parsed += token.raw.length;
      if (isShown(token)) this.#done.push(block([token], this.#done.length, true));
    }
    return last < 0 ? this.#done : [...this.#done, block([tokens[last]], this.#done.length, isOver)];
  }
}

const isShown = (token) => token.type !== "space";

const block = (tokens, key, isOver) => html`<${Block} key=${key} tokens=${tokens} isOver=${isOver} />`;

function Block({ tokens, isOver }) {
  const place = useRef(null);
  const isCode = tokens.length === 1 && tokens[0].type === "code";
  useLayoutEffect(() => {
    if (!isCode) place.current.replaceChildren(fragmentOf(tokens));
  }, [tokens]);
  if (isCode) return html`<${Code} text=${tokens[0].text} language=${tokens[0].lang} isOver=${isOver} />`;
  return html`<div ref=${place}></div>`;
}

/** Text of an agent as markdown; `isOver` once no more of it comes. */
export function Markdown({ text, isOver }) {
  const blocks = useRef(null);
  const normal = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n");
  return html`<div class="markdown">${(blocks.current ??= new Blocks()).of(normal, isOver)}</div>`;
}
