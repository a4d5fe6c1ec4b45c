// The OpenAPI document as a list of operations, with their parameters, bodies and answers. Everything is a text node.

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
const MAX_DEPTH = 8;

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function resolved(schema, root) {
  if (typeof schema?.$ref !== "string") return schema ?? {};
  const path = schema.$ref.replace(/^#\//, "").split("/");
  return path.reduce((found, part) => found?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], root) ?? {};
}

function kindOf(schema, root) {
  const own = resolved(schema, root);
  const name = schema?.$ref?.split("/").pop();
  if (own.enum) return own.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in own) return JSON.stringify(own.const);
  const choices = own.anyOf ?? own.oneOf;
  if (choices) return choices.map((choice) => kindOf(choice, root)).join(" | ");
  if (own.type === "array") return `list of ${kindOf(own.items, root)}`;
  return name ?? [own.type ?? "any"].flat().join(" | ");
}

function limitsOf(own) {
  const names = ["format", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "pattern", "minItems", "maxItems"];
  return names.filter((name) => name in own).map((name) => `${name} ${JSON.stringify(own[name])}`).join(", ");
}

function field(name, schema, root, required, depth) {
  const own = resolved(schema, root);
  const limits = limitsOf(own);
  const head = `${required ? "" : "optional "}${kindOf(schema, root)}${limits ? ` (${limits})` : ""}`;
  const description = own.description ? `: ${own.description}` : "";
  return element("li", {}, element("code", { textContent: name }), ` ${head}${description}`, tree(schema, root, depth));
}

function tree(schema, root, depth = 0) {
  const own = resolved(schema, root);
  if (depth > MAX_DEPTH) return null;
  const parts = [own, ...(own.allOf ?? []), ...(own.anyOf ?? own.oneOf ?? []), own.items]
    .map((part) => resolved(part, root)).filter((part) => part.properties);
  if (parts.length === 0) return null;
  return element("ul", {}, ...parts.flatMap((part) => Object.entries(part.properties).map(
    ([name, inner]) => field(name, inner, root, (part.required ?? []).includes(name), depth + 1))));
}

function content(title, described, root) {
  return Object.entries(described?.content ?? {}).map(([type, { schema }]) => element("div", {},
    element("h3", { textContent: `${title} ` }, element("code", { textContent: type })),
    element("p", { textContent: kindOf(schema, root) }), tree(schema, root)));
}

function operation(method, path, described, root) {
  const parameters = (described.parameters ?? []).map((parameter) => resolved(parameter, root));
  return element("details", {},
    element("summary", {}, element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }), described.summary ? ` ${described.summary}` : ""),
    described.description ? element("p", { textContent: described.description }) : null,
    parameters.length ? element("h3", { textContent: "Parameters" }) : null,
    parameters.length ? element("ul", {}, ...parameters.map(
      (one) => field(`${one.in} ${one.name}`, { description: one.description, ...one.schema }, root, one.required, 0)))
      : null,
    ...content("Body", described.requestBody, root),
    element("h3", { textContent: "Answers" }),
    element("ul", {}, ...Object.entries(described.responses ?? {}).map(([status, answer]) => element("li", {},
      element("code", { textContent: status }), ` ${resolved(answer, root).description ?? ""}`,
      ...content("", resolved(answer, root), root)))));
}

async function show() {
  const status = document.getElementById("status");
  const answer = await fetch("./openapi.json");
  if (!answer.ok) {
    status.textContent = `openapi.json cannot be read: ${answer.status} ${answer.statusText}`;
    return;
  }
  const root = await answer.json();
  document.getElementById("title").textContent = `${root.info.title} ${root.info.version}`;
  document.getElementById("operations").append(...Object.entries(root.paths).flatMap(
    ([path, methods]) => METHODS.filter((method) => method in methods).map(
      (method) => operation(method, path, methods[method], root))));
  status.textContent = "";
}

show().catch((error) => { document.getElementById("status").textContent = `The page failed: ${error.message}`; });
