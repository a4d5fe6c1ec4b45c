// The payload's JSON Schema, as /openapi.json has it: references, the kinds of fields that a form has, first values.

import { getJSON } from "./api.js";
import { t } from "./i18n.js";
import { isContainer } from "./patch.js";

/** What the agent takes: `{schema, root}`; both null where it is not told or anything is taken. */
export async function payloadSchema() {
  const root = await getJSON("openapi.json").catch(() => null);
  const schema = root?.paths?.["/invocations"]?.post?.requestBody?.content?.["application/json"]?.schema ?? null;
  return { schema, root };
}

/** Return a schema without references: `$ref` followed, `allOf` merged, and `anyOf` with null as `nullable`. */
export function resolve(schema, root, depth = 0) {
  if (!isContainer(schema) || depth > 20) return {};
  const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
  let result = rest;
  if (typeof $ref === "string") result = { ...resolve(pointed(root, $ref), root, depth + 1), ...rest };
  for (const each of allOf ?? []) {
    const part = resolve(each, root, depth + 1);
    result = { ...part, ...result };
    if (part.properties) result.properties = { ...part.properties, ...result.properties };
    if (part.required) result.required = [...new Set([...part.required, ...(result.required ?? [])])];
  }
  if (Array.isArray(result.type)) {
    const types = result.type.filter((type) => type !== "null");
    const nullable = types.length < result.type.length;
    if (types.length === 1) result = { ...result, type: types[0], nullable };
    else return { ...result, nullable, variants: types.map((type) => ({ ...result, type })) };
  }
  const variants = anyOf ?? oneOf;
  if (!variants) return result;
  const others = variants.filter((each) => each?.type !== "null");
  const nullable = others.length < variants.length;
  if (others.length === 1) return { ...resolve(others[0], root, depth + 1), ...result, nullable };
  return { ...result, nullable, variants: others };
}

function pointed(root, reference) {
  const names = reference.replace(/^#\//, "").split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((parent, name) => (isContainer(parent) && Object.hasOwn(parent, name) ? parent[name] : undefined), root);
}

const SIMPLE = new Set(["string", "number", "integer", "boolean"]);

/** Return which kind of field a resolved schema gets; `json` for whatever a form has no field for. */
export function kindOf(schema) {
  if ("const" in schema) return "const";
  if (Array.isArray(schema.enum)) return "enum";
  if (schema.variants) return "union";
  if (SIMPLE.has(schema.type)) return schema.type;
  if (schema.properties && Object.keys(schema.properties).length) return "object";
  if (schema.type === "array" && isContainer(schema.items) && !schema.prefixItems) return "array";
  return "json";
}

/** Return the value that a field begins with; undefined for one that is left out. */
export function initial(schema, root, required = true) {
  const resolved = resolve(schema, root);
  if ("default" in resolved) return structuredClone(resolved.default);
  const kind = kindOf(resolved);
  if (kind === "const") return resolved.const;
  if (!required) return undefined;
  if (resolved.nullable) return null;
  if (kind === "enum") return resolved.enum[0];
  if (kind === "union") return initial(resolved.variants[0], root);
  if (kind === "object") return initialObject(resolved, root);
  return { string: "", boolean: false, array: [] }[kind];
}

function initialObject(resolved, root) {
  const value = {};
  for (const [name, property] of Object.entries(resolved.properties)) {
    const first = initial(property, root, resolved.required?.includes(name) ?? false);
    if (first !== undefined) value[name] = first;
  }
  return value;
}

/** Return the paths of required fields that have no value. */
export function missing(value, schema, root, path = "") {
  const resolved = resolve(schema, root);
  if (value === undefined) return [path];
  if (kindOf(resolved) !== "object" || !isContainer(value)) return [];
  return Object.entries(resolved.properties).flatMap(([name, property]) => {
    const isNeeded = value[name] !== undefined || resolved.required?.includes(name);
    return isNeeded ? missing(value[name], property, root, path ? `${path}.${name}` : name) : [];
  });
}

/** Return the number of the variant that a value is of. */
export function variantOf(value, schema, root) {
  const fits = schema.variants.findIndex((variant) => matches(value, resolve(variant, root), root));
  return Math.max(0, fits);
}

function matches(value, schema, root) {
  if ("const" in schema) return value === schema.const;
  if (schema.enum) return schema.enum.includes(value);
  if (schema.type === "integer" || schema.type === "number") return typeof value === "number";
  if (schema.type === "array") return Array.isArray(value);
  if (!schema.properties) return typeof value === (schema.type ?? typeof value);
  if (!isContainer(value) || Array.isArray(value)) return false;
  if (!(schema.required ?? []).every((name) => name in value)) return false;
  return Object.entries(schema.properties).every(([name, property]) => {
    const resolved = resolve(property, root);
    return !("const" in resolved) || value[name] === resolved.const;
  });
}

/** Return what a user is told about a field's limits: `1 – 10`, `≤ 80 characters`. */
export function limitsOf(schema) {
  const limits = [
    [schema.minimum ?? schema.exclusiveMinimum, schema.maximum ?? schema.exclusiveMaximum, null],
    [schema.minLength, schema.maxLength, "limit_characters"],
    [schema.minItems, schema.maxItems, "limit_items"],
  ];
  const [least, most, word] = limits.find(([low, high]) => low !== undefined || high !== undefined) ?? [];
  if (word === undefined) return schema.pattern ?? "";
  const range = most === undefined ? `≥ ${least}` : least === undefined ? `≤ ${most}` : `${least} – ${most}`;
  return word === null ? range : t(word, { n: range });
}

/** Return the errors of a refused payload by field, as the agent's sentence has them: `a.b: Input should be …`. */
export function fieldErrors(error) {
  const errors = new Map();
  if (error?.type !== "PayloadValidationError") return errors;
  const told = error.message.replace(/^.*payload type: /s, "").replace(/\.$/, "");
  for (const each of told.split(/; (?=[\w.[\]-]+: )/)) {
    const [, path, message] = each.match(/^([\w.[\]-]+): (.*)$/s) ?? [null, "", each];
    errors.set(path, message);
  }
  return errors;
}
