// The box at the bottom: a form, a prompt or JSON; files; Send, and Stop at the same place.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { agent } from "../agent.js";
import { dropped, FileButton, toBase64 } from "../files.js";
import { Form } from "../form.js";
import { bytes, oneLine } from "../format.js";
import { html, randomId, useObservable } from "../html.js";
import { t } from "../i18n.js";
import { isContainer } from "../patch.js";
import { fieldErrors, initial, kindOf, resolve } from "../schema.js";
import { sessions } from "../sessions.js";
import { focusBox, focusOn, ui } from "../ui.js";
import { editTurn } from "./turn.js";

const NARROW = matchMedia("(max-width: 700px)");

/** Return which forms of input an agent has, the first one first. */
function modesOf() {
  const schema = agent.schema ? resolve(agent.schema, agent.root) : {};
  const kind = kindOf(schema);
  const takesPrompt = kind === "json" || kind === "string" || "prompt" in (schema.properties ?? {});
  if (kind === "json" || kind === "string") return ["prompt", "json"];
  return takesPrompt ? ["prompt", "form", "json"] : ["form", "json"];
}

/** Return what a JSON payload is called in the list of sessions: its prompt, else the fields that say something. */
function titleOf(value) {
  if (!isContainer(value)) return String(value);
  if (typeof value.prompt === "string" && value.prompt) return value.prompt;
  const said = Object.entries(value).filter(([, each]) => each !== null && each !== "" && !(isContainer(each) && !Object.keys(each).length));
  return said.map(([name, each]) => `${name}: ${oneLine(each, 30)}`).join(", ") || "{}";
}

/** Return the body of a prompt with files, in the form that the agent takes. */
function promptBody(text, files) {
  const schema = agent.schema ? resolve(agent.schema, agent.root) : {};
  if (schema.type === "string") return text;
  if (!files.length) return { prompt: text };
  if (!("messages" in (schema.properties ?? {}))) return { prompt: text, files };
  const parts = files.map(({ name, type, data }) => ({ type: "binary", mimeType: type, filename: name, data }));
  return { messages: [{ id: randomId(), role: "user", content: [{ type: "text", text }, ...parts] }] };
}

export function Composer() {
  useObservable(ui);
  useObservable(agent);
  const session = sessions.current;
  const draft = ui.draft(session);
  const modes = modesOf();
  const mode = modes.includes(draft.mode) ? draft.mode : modes[0];
  const value = draft.value ?? (agent.schema ? initial(agent.schema, agent.root) : undefined);
  const [problem, setProblem] = useState(null);
  const [background, setBackground] = useState(false);
  const invalid = useRef(new Set()).current;
  const active = sessions.active;
  const set = (change) => ui.setDraft(session, change);
  const last = sessions.shown.at(-1);
  const errors = mode === "form" ? fieldErrors(last?.record.error) : new Map();
  useEffect(() => {
    if (errors.size) focusOn('#message [aria-invalid="true"]');
  }, [last?.record.error]);

  const send = async () => {
    if (active) return;
    let given;
    try {
      given = mode === "json" ? JSON.parse(draft.json) : mode === "form" ? value : promptBody(draft.text, draft.files);
    } catch (error) {
      return setProblem(t("not_json", { error: error.message }));
    }
    if (mode === "form" && invalid.size) return setProblem(t("fix_fields"));
    if (mode === "prompt" && !draft.text.trim() && !draft.files.length) return;
    const body = JSON.stringify(given ?? null);
    const size = new Blob([body]).size;
    if (size > agent.maxRequestBytes) return setProblem(t("too_large", { size: bytes(size), limit: bytes(agent.maxRequestBytes) }));
    setProblem(null);
    if (draft.editing) await sessions.removeFrom(draft.editing);
    const files = mode === "prompt" ? draft.files.map(({ name, type, data }) => ({ name, type, size: Math.floor((data.length * 3) / 4) })) : [];
    sessions.send(body, { mode, text: mode === "prompt" ? draft.text : body, title: mode === "prompt" ? draft.text : titleOf(given), files }, { background });
    set({ text: "", files: [], editing: null });
    focusBox();
  };

  const change = (to) => {
    const change = { mode: to };
    if (to === "json") change.json = JSON.stringify(mode === "form" ? value : promptBody(draft.text, draft.files), null, 2);
    else if (mode === "json") {
      try {
        const decoded = JSON.parse(draft.json);
        if (to === "form") change.value = decoded;
        else if (isContainer(decoded) && typeof decoded.prompt === "string") change.text = decoded.prompt;
      } catch (error) {
        return setProblem(t("not_json", { error: error.message }));
      }
    }
    setProblem(null);
    set(change);
  };

  const addFiles = async (list) => {
    const read = await Promise.all(list.map(async (file) => ({ name: file.name, type: file.type || "application/octet-stream", data: await toBase64(file) })));
    if (mode === "prompt") return set({ files: [...draft.files, ...read] });
    const area = document.getElementById("message");
    const text = read.map((file) => JSON.stringify(file.data)).join(", ");
    set({ json: draft.json.slice(0, area.selectionStart) + text + draft.json.slice(area.selectionEnd) });
  };

  const keys = (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && (mode !== "json" || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && mode === "prompt" && draft.text === "") {
      const run = sessions.shown.findLast((each) => !["answer", "attached"].includes(each.record.input.mode));
      if (run) {
        event.preventDefault();
        editTurn(run);
      }
    }
  };

  return html`<form class="composer" noValidate onSubmit=${(event) => { event.preventDefault(); send(); }}>
    <div class="modes" role="group" aria-label=${t("input_as")}>
      ${modes.map((each) => html`<button key=${each} type="button" class="small" aria-pressed=${each === mode ? "true" : "false"} onClick=${() => change(each)}>${t(`mode_${each}`)}</button>`)}
      ${draft.editing ? html`<span class="chip">${t("editing")} <button type="button" class="small quiet" aria-label=${t("cancel_edit")} onClick=${() => set({ editing: null, text: "" })}>✕</button></span>` : null}
      <label class="check" title=${t("in_background_text")}><input type="checkbox" checked=${background} onChange=${(event) => setBackground(event.target.checked)} /> ${t("in_background")}</label>
    </div>
    ${problem ? html`<p class="error" role="alert">${problem}</p>` : null}
    ${agent.reachable ? null : html`<p class="warning" role="status">${t("restarting")}</p>`}
    <${Files} files=${draft.files} onRemove=${(index) => set({ files: draft.files.filter((_, at) => at !== index) })} />
    <div class="row">
      ${mode === "form"
        ? html`<div class="formbox" id="message" tabindex="-1"><${Form} key=${`${session} ${draft.editing}`} schema=${agent.schema} root=${agent.root} value=${value}
            errors=${errors} invalid=${invalid} onChange=${(next) => set({ value: next })} /></div>`
        : html`<${Box} mode=${mode} text=${mode === "json" ? draft.json : draft.text} onInput=${(text) => set(mode === "json" ? { json: text } : { text })}
            onKeyDown=${keys} onFiles=${addFiles} /><${FileButton} onFiles=${addFiles} multiple=${true} />`}
      ${active
        ? html`<button key="stop" type="button" class="primary stop" disabled=${active.stopping} onClick=${() => { active.stop(); focusBox(); }}>${t("stop")}</button>`
        : html`<button key="send" type="submit" class="primary">${t("send")}</button>`}
    </div></form>`;
}

function Box({ mode, text, onInput, onKeyDown, onFiles }) {
  const area = useRef(null);
  useLayoutEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(area.current.scrollHeight + 2, 0.4 * innerHeight)}px`;
  }, [text, mode]);
  return html`<textarea id="message" ref=${area} rows="1" class=${mode === "json" ? "code" : ""} aria-label=${mode === "json" ? t("message_json") : t("message")}
    placeholder=${mode === "json" ? "" : t(NARROW.matches ? "message" : "message_hint")} spellcheck=${mode !== "json"} value=${text} onInput=${(event) => onInput(event.target.value)}
    onKeyDown=${onKeyDown} ...${dropped(onFiles)}></textarea>`;
}

const Files = ({ files, onRemove }) =>
  files.length
    ? html`<ul class="files" aria-label=${t("files")}>${files.map((file, index) => html`<li class="chip" key=${index}>${file.name} · ${bytes(Math.floor(((file.data?.length ?? 0) * 3) / 4))}
        <button type="button" class="small quiet" aria-label=${t("remove_field", { name: file.name })} onClick=${() => onRemove(index)}>✕</button></li>`)}</ul>`
    : null;
