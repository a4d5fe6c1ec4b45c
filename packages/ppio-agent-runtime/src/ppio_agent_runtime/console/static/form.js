// A form from a JSON Schema. What it has no field for is a JSON field, for that part only.

import { useId, useState } from "preact/hooks";
import { html } from "./html.js";
import { dropped, FileButton, toBase64 } from "./files.js";
import { t } from "./i18n.js";
import { initial, kindOf, limitsOf, resolve, variantOf } from "./schema.js";

/**
 * @param props.schema, props.root The schema and the document that its references point into.
 * @param props.value The JSON value; `props.onChange(value)` gets the next one, undefined for a field that is empty.
 * @param props.errors Messages by path, from the server. `props.invalid` is a Set of paths whose text is no JSON.
 */
export function Form({ schema, root, value, onChange, errors = new Map(), invalid = new Set(), label }) {
  const context = { root, errors, invalid, id: useId() };
  const named = [...errors].filter(([path]) => !isShown(path, resolve(schema, root), root));
  return html`<div class="form" role="group" aria-label=${label ?? t("form")}>
    ${named.map(([path, message]) => html`<p class="error" role="alert">${path && `${path}: `}${message}</p>`)}
    <${Field} schema=${schema} value=${value} onChange=${onChange} path="" required=${true} context=${context} />
  </div>`;
}

/** Say whether the form has a field at a path, which then shows its error itself. */
function isShown(path, schema, root) {
  let here = schema;
  for (const name of path.split(".")) {
    const kind = kindOf(here);
    if (kind === "object" && here.properties[name]) here = resolve(here.properties[name], root);
    else if (kind === "array") here = resolve(here.items, root);
    else return false;
  }
  return path !== "";
}

function Field({ schema, value, onChange, path, name, required, context }) {
  const resolved = resolve(schema, context.root);
  const kind = kindOf(resolved);
  const title = resolved.title && !name ? resolved.title : (name ?? resolved.title ?? "");
  const common = { schema: resolved, value, onChange, path, title, required, context };
  if ((kind === "object" || kind === "array" || kind === "union") && value == null && path) return html`<${Absent} ...${common} />`;
  const Kind = { object: ObjectField, array: ArrayField, union: UnionField, json: JSONField, const: ConstField }[kind] ?? SimpleField;
  return html`<${Kind} kind=${kind} ...${common} />`;
}

function Absent({ schema, onChange, title, context }) {
  const { default: _, ...without } = schema;
  const add = () => onChange(initial({ ...without, nullable: false }, context.root));
  return html`<div class="field"><button type="button" class="small" onClick=${add}>${t("add_field", { name: title })}</button></div>`;
}

function ObjectField({ schema, value, onChange, path, title, required, context }) {
  const given = value ?? {};
  const fields = Object.entries(schema.properties).map(([name, property]) => {
    const set = (next) => {
      const { [name]: _, ...rest } = given;
      onChange(next === undefined ? rest : { ...given, [name]: next });
    };
    const below = path ? `${path}.${name}` : name;
    return html`<${Field} key=${name} schema=${property} value=${given[name]} onChange=${set} path=${below} name=${name}
      required=${schema.required?.includes(name) ?? false} context=${context} />`;
  });
  if (!path) return html`${fields}`;
  return html`<fieldset><legend>${title}${required ? "" : html` <${Remove} title=${title} onClick=${() => onChange(undefined)} />`}</legend>
    <${Description} schema=${schema} />${fields}<${Problem} path=${path} context=${context} /></fieldset>`;
}

function ArrayField({ schema, value, onChange, path, title, context }) {
  const items = Array.isArray(value) ? value : [];
  const set = (index, next) => onChange(items.map((item, at) => (at === index ? (next ?? null) : item)));
  return html`<fieldset><legend>${title || t("list")}</legend><${Description} schema=${schema} />
    ${items.map((item, index) => html`<div class="item" key=${index}>
      <${Field} schema=${schema.items} value=${item} onChange=${(next) => set(index, next)} path=${path ? `${path}.${index}` : `${index}`}
        name=${`${title} ${index + 1}`} required=${true} context=${context} />
      <${Remove} title=${`${title} ${index + 1}`} onClick=${() => onChange(items.filter((_, at) => at !== index))} /></div>`)}
    <button type="button" class="small" onClick=${() => onChange([...items, initial(schema.items, context.root) ?? null])}>${t("add_item")}</button>
    <${Problem} path=${path} context=${context} /></fieldset>`;
}

function UnionField({ schema, value, onChange, path, title, context }) {
  const [chosen, choose] = useState(() => variantOf(value, schema, context.root));
  const names = schema.variants.map((variant, index) => {
    const resolved = resolve(variant, context.root);
    return resolved.title ?? resolved.type ?? resolved.const ?? `${index + 1}`;
  });
  const pick = (index) => {
    choose(index);
    onChange(initial(schema.variants[index], context.root) ?? null);
  };
  const id = idOf(path, context);
  return html`<div class="field"><label for=${`${id}-kind`}>${title || t("kind")}</label>
    <select id=${`${id}-kind`} value=${chosen} onChange=${(event) => pick(Number(event.target.value))}>
      ${names.map((name, index) => html`<option value=${index} selected=${index === chosen}>${name}</option>`)}</select>
    <${Field} key=${chosen} schema=${schema.variants[chosen]} value=${value} onChange=${onChange} path=${path} name=${names[chosen]}
      required=${true} context=${context} /></div>`;
}

function ConstField({ schema, title }) {
  return html`<div class="field"><span>${title}</span> <code>${JSON.stringify(schema.const)}</code></div>`;
}

function SimpleField({ kind, schema, value, onChange, path, title, required, context }) {
  const id = idOf(path, context);
  const problem = context.errors.get(path);
  const described = [schema.description && `${id}-text`, problem && `${id}-error`].filter(Boolean).join(" ") || undefined;
  const common = { id, "aria-describedby": described, "aria-invalid": problem ? "true" : undefined, "aria-required": required ? "true" : undefined };
  const empty = required ? (schema.nullable ? null : kind === "string" ? "" : undefined) : undefined;
  let input;
  if (kind === "enum") input = html`<${Choice} ...${common} options=${schema.enum} value=${value} optional=${!required || schema.nullable} onChange=${onChange} empty=${empty} />`;
  else if (kind === "boolean" && !required && !("default" in schema)) {
    input = html`<${Choice} ...${common} options=${[true, false]} value=${value} optional=${true} onChange=${onChange} empty=${empty} />`;
  } else if (kind === "boolean") {
    input = html`<input type="checkbox" ...${common} checked=${value === true} onChange=${(event) => onChange(event.target.checked)} />`;
  } else if (kind === "string") input = html`<${TextInput} ...${common} schema=${schema} value=${value} onChange=${onChange} empty=${empty} title=${title} />`;
  else {
    const read = (text) => (text === "" || Number.isNaN(Number(text)) ? empty : Number(text));
    input = html`<input type="number" step=${kind === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum} ...${common}
      value=${value ?? ""} onInput=${(event) => onChange(read(event.target.value))} />`;
  }
  const limits = limitsOf(schema);
  return html`<div class=${kind === "boolean" ? "field inline" : "field"}>
    <label for=${id}>${title || t("value")}${required ? html`<span aria-hidden="true"> *</span>` : ""}
      <span class="hint"> ${kind === "enum" ? "" : schema.format ?? kind}${limits && ` ${limits}`}</span></label>
    ${input}<${Description} schema=${schema} id=${`${id}-text`} /><${Problem} path=${path} context=${context} /></div>`;
}

function Choice({ options, value, optional, onChange, empty, ...rest }) {
  const at = options.findIndex((option) => option === value);
  return html`<select ...${rest} value=${at} onChange=${(event) => onChange(Number(event.target.value) < 0 ? empty : options[Number(event.target.value)])}>
    ${optional || at < 0 ? html`<option value="-1" selected=${at < 0}>${t("not_set")}</option>` : null}
    ${options.map((option, index) => html`<option value=${index} selected=${index === at}>${String(option)}</option>`)}</select>`;
}

/** Text; a file that is dropped on it, or chosen, becomes its base64. */
function TextInput({ schema, value, onChange, empty, title, ...rest }) {
  const [file, setFile] = useState(null);
  const take = async ([first]) => {
    if (!first) return;
    onChange(await toBase64(first));
    setFile(`${first.name} · ${t("bytes", { n: first.size })}`);
  };
  const isBinary = /binary|byte|base64/.test(`${schema.format} ${schema.contentEncoding}`);
  const isLong = (schema.maxLength ?? 0) > 200 || /prompt|text|message|content|body/i.test(title);
  const type = { date: "date", time: "time", email: "email", password: "password" }[schema.format] ?? "text";
  const common = {
    ...rest, value: value ?? "", maxLength: schema.maxLength, placeholder: isBinary ? t("drop_file") : undefined,
    onInput: (event) => { setFile(null); onChange(event.target.value === "" ? empty : event.target.value); },
    ...dropped(take),
  };
  return html`${isLong || isBinary ? html`<textarea rows="2" ...${common}></textarea>` : html`<input type=${type} ...${common} />`}
    ${isBinary ? html`<${FileButton} onFiles=${take} name=${title} />` : null}${file ? html`<span class="hint">${file}</span>` : null}`;
}

/** JSON for a part that a form has no fields for. */
export function JSONField({ value, onChange, path = "", title, context, required }) {
  const [text, setText] = useState(() => (value === undefined ? "" : JSON.stringify(value, null, 2)));
  const [wrong, setWrong] = useState(null);
  const id = idOf(path, context);
  const take = (given) => {
    setText(given);
    context.invalid.delete(path);
    try {
      onChange(given.trim() === "" ? (required ? null : undefined) : JSON.parse(given));
      setWrong(null);
    } catch (error) {
      context.invalid.add(path);
      setWrong(error.message);
    }
  };
  return html`<div class="field"><label for=${id}>${title || t("value")} <span class="hint">JSON</span></label>
    <textarea id=${id} class="code" rows="3" spellcheck=${false} aria-invalid=${wrong ? "true" : undefined} aria-describedby=${wrong ? `${id}-error` : undefined}
      value=${text} onInput=${(event) => take(event.target.value)}></textarea>
    ${wrong ? html`<p class="error" id=${`${id}-error`}>${wrong}</p>` : null}<${Problem} path=${path} context=${context} /></div>`;
}

const Remove = ({ title, onClick }) =>
  html`<button type="button" class="small quiet" aria-label=${t("remove_field", { name: title })} onClick=${onClick}>✕</button>`;

const Description = ({ schema, id }) => (schema.description ? html`<p class="hint" id=${id}>${schema.description}</p>` : null);

function Problem({ path, context }) {
  const message = path ? context.errors.get(path) : null;
  return message ? html`<p class="error" role="alert" id=${`${idOf(path, context)}-error`}>${message}</p>` : null;
}

/** Several forms may be on the page at once. */
const idOf = (path, { id }) => `${id}-${path || "root"}`;
