// What an agent said, part by part: text, reasoning, tool calls, values.

import { Code } from "../code.js";
import { oneLine, span } from "../format.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { Markdown } from "../markdown.js";
import { isContainer } from "../patch.js";
import { sessions } from "../sessions.js";
import { Fold } from "./fold.js";

const IMAGE = /^image\/[\w.+-]+$/;

/** Show one part; `isOver` once its run is over. */
export function Part({ part, isOver }) {
  const Kind = KINDS[part.kind] ?? Other;
  const shown = html`<${Kind} part=${part} isOver=${isOver || part.endAt !== null} />`;
  return part.subagent ? html`<div class="subagent"><span class="hint">${part.subagent}</span>${shown}</div>` : shown;
}

function Text({ part, isOver }) {
  if (part.role !== "assistant") return html`<div class="hint">${part.role}: ${part.text}</div>`;
  return html`<${Markdown} text=${part.text} isOver=${isOver} />`;
}

function Reasoning({ part, isOver }) {
  const took = part.endAt === null ? "" : ` (${span(part.endAt - part.at)})`;
  const summary = isOver ? `${t("thought")}${took}` : t("thinking");
  return html`<${Fold} className="reasoning" summary=${summary}>${() => html`<${Markdown} text=${part.text} isOver=${isOver} />`}</${Fold}>`;
}

function Tool({ part, isOver }) {
  const { name = t("tool"), args = "", result } = part.name && part.result !== undefined ? part : sessions.toolCall(part.id);
  const waits = result === undefined;
  const took = part.endAt === null || !part.name ? "" : span(part.endAt - part.at);
  const summary = html`<span class="tool-name">${name}</span> <span class="mono cut">${oneLine(args, 100)}</span>
    ${waits ? html`<span class="hint"> ${isOver ? t("no_result") : "…"}</span>` : html`<span class="mono cut"> → ${oneLine(contentText(result), 100)}</span>`}
    <span class="took">${took}</span>`;
  return html`<${Fold} className="tool" summary=${summary}>${() => html`
    <p class="sub">${t("arguments")}</p><${Code} text=${pretty(args)} language="json" label=${t("arguments")} isOver=${isOver} />
    ${waits ? null : html`<p class="sub">${t("result")}</p><${Content} content=${result} label=${t("result")} />`}`}</${Fold}>`;
}

/** What a tool returned: text, or parts of which some may be images. */
function Content({ content, label }) {
  const parts = Array.isArray(content) ? content : [content];
  return parts.map((each) => {
    const image = imageOf(each);
    if (image) return html`<img src=${image} alt=${each.alt ?? t("image")} />`;
    return html`<${Code} text=${pretty(contentText(each))} language="json" label=${label} />`;
  });
}

/** Return the address of an image that is in the content itself; SVG too: an `<img>` runs no script. */
function imageOf(part) {
  const source = part?.source ?? part;
  const type = source?.mimeType ?? source?.media_type;
  const data = source?.data ?? source?.value;
  const isImage = part?.type === "image" && IMAGE.test(type) && typeof data === "string" && /^[\w+/=\s]+$/.test(data);
  return isImage ? `data:${type};base64,${data}` : null;
}

function contentText(content) {
  if (typeof content === "string") return content;
  if (typeof content?.text === "string") return content.text;
  if (Array.isArray(content)) return content.map(contentText).join(" ");
  return JSON.stringify(content) ?? "";
}

/** Return JSON text with line breaks; any other text as it is. */
export function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2) ?? "";
  try {
    const decoded = JSON.parse(value);
    return isContainer(decoded) ? JSON.stringify(decoded, null, 2) : value;
  } catch {
    return value;
  }
}

const Value = ({ part }) => html`<${Code} text=${pretty(part.value)} language="json" label=${t("value")} />`;

const Result = ({ part }) =>
  typeof part.value === "string" ? html`<${Markdown} text=${part.value} isOver=${true} />` : html`<${Value} part=${part} />`;

const Step = ({ part, isOver }) =>
  html`<div class="step">${isOver ? "✓" : "…"} ${part.name}<span class="took">${part.endAt === null ? "" : span(part.endAt - part.at)}</span></div>`;

const Subagent = ({ part, isOver }) =>
  html`<div class="step">${part.error ? "✗" : isOver ? "✓" : "…"} ${part.name} ${part.error ? html`<span class="error">${part.error}</span>` : null}</div>`;

const Other = ({ part }) =>
  html`<${Fold} className="tool" summary=${html`<span class="tool-name">${part.name}</span> <span class="mono cut">${oneLine(part.note ?? part.value, 100)}</span>`}>
    ${() => html`<${Code} text=${pretty(part.value)} language="json" label=${part.name} />`}</${Fold}>`;

const KINDS = { text: Text, reasoning: Reasoning, tool: Tool, value: Value, result: Result, step: Step, subagent: Subagent };
