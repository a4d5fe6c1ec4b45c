// Questions that a run ended with. All of them are answered at once, by one new run.

import { useErrorBoundary, useId, useRef, useState } from "preact/hooks";
import { Form, JSONField } from "../form.js";
import { Code } from "../code.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { initial, missing } from "../schema.js";
import { sessions } from "../sessions.js";
import { focusBox } from "../ui.js";
import { pretty } from "./parts.js";

export function Interrupts({ run }) {
  const [answers, setAnswers] = useState({});
  if (run.record.answered) return null;
  const { interrupts } = run.view;
  const answer = (interrupt, given, text) => {
    const next = { ...answers, [interrupt.id]: { answer: { interrupt_id: interrupt.id, ...given }, text } };
    setAnswers(next);
    const all = interrupts.map((each) => next[each.id]);
    if (!all.every(Boolean)) return;
    sessions.answer(run, all.map((each) => each.answer), all.map((each) => each.text).join(" · "));
    focusBox();
  };
  return interrupts.map((each) => html`<${Guarded} key=${each.id} interrupt=${each} answered=${answers[each.id]?.text} onAnswer=${answer} />`);
}

/** A question whose schema no form can be made from is one without a schema. */
function Guarded({ interrupt, ...rest }) {
  const [error] = useErrorBoundary();
  return html`<${Interrupt} key=${error ? "plain" : "asked"} interrupt=${error ? { ...interrupt, responseSchema: undefined } : interrupt} ...${rest} />`;
}

function Interrupt({ interrupt, answered, onAnswer }) {
  const { message, reason, responseSchema: schema = null, metadata } = interrupt;
  const asks = schema !== null && !isApproval(schema);
  const [as, setAs] = useState(asks ? "form" : "buttons");
  const [value, setValue] = useState(() => (asks ? initial(schema, schema) : undefined));
  const [errors, setErrors] = useState(new Map());
  const [problem, setProblem] = useState(null);
  const invalid = useRef(new Set()).current;
  const id = useId();
  const title = message ?? reason ?? t("question");
  const resolve = (payload, text) => onAnswer(interrupt, { status: "resolved", payload }, text);
  const approve = () => resolve(approvalOf(schema, true), t("approved"));
  const reject = () => (schema && !asks ? resolve(approvalOf(schema, false), t("rejected")) : onAnswer(interrupt, { status: "cancelled" }, t("rejected")));
  const answer = (event) => {
    event.preventDefault();
    if (as === "buttons") return approve();
    const gaps = as === "form" ? missing(value, schema, schema) : [];
    setErrors(new Map(gaps.map((path) => [path, t("field_required")])));
    setProblem(invalid.size ? t("fix_fields") : null);
    if (!invalid.size && !gaps.length) resolve(value ?? null, pretty(value ?? null));
  };
  const show = (next) => {
    invalid.clear();
    setProblem(null);
    setAs(next);
  };
  const keys = (event) => {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const button = event.currentTarget.querySelector({ a: ".approve", x: ".reject" }[event.key]);
    if (button) button.click();
  };
  return html`<section class="interrupt" role="group" tabindex="0" aria-label=${title} onKeyDown=${keys}>
    <p class="sub">${title}</p>${saysMore(metadata, title) ? html`<${Code} text=${pretty(metadata)} language="json" label=${t("details")} />` : null}
    ${answered ? html`<p class="hint">${answered}</p>` : html`<form noValidate onSubmit=${answer}>
      ${as === "form" ? html`<${Form} schema=${schema} root=${schema} value=${value} onChange=${setValue} errors=${errors} invalid=${invalid} label=${t("answer")} />` : null}
      ${as === "json" ? html`<${JSONField} title=${t("answer")} value=${value} onChange=${setValue} required=${true} context=${{ id, invalid, errors }} />` : null}
      ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
      <div class="buttons"><button type="submit" class="primary approve">${t(as === "buttons" ? "approve" : "send_answer")}</button>
        <button type="button" class="reject" onClick=${reject}>${t("reject")}</button>
        ${as === "json" && asks ? html`<button type="button" onClick=${() => show("form")}>${t("mode_form")}</button>` : null}
        ${as === "json" ? null : html`<button type="button" onClick=${() => show("json")}>${t(asks ? "mode_json" : "edit_answer")}</button>`}</div></form>`}</section>`;
}

/** Say whether metadata tells more than the question: a framework's may be nothing but that again. */
function saysMore(metadata, title) {
  const { value, ...rest } = metadata ?? {};
  const said = [JSON.stringify(title), JSON.stringify({ message: title }), undefined];
  return Object.keys(rest).length > 0 || !said.includes(JSON.stringify(value));
}

/** Say whether a schema asks for yes or no: a boolean, or an object of which one boolean is all that is required. */
function isApproval(schema) {
  if (!schema) return false;
  return schema.type === "boolean" || approvalName(schema) !== null;
}

function approvalName(schema) {
  const required = schema.required ?? [];
  const named = ["approved", "approve", "accepted"].find((name) => schema.properties?.[name]?.type === "boolean");
  return named && required.every((name) => name === named) && Object.keys(schema.properties).length === 1 ? named : null;
}

const approvalOf = (schema, value) => (schema?.type === "boolean" || !schema ? value : { [approvalName(schema)]: value });
