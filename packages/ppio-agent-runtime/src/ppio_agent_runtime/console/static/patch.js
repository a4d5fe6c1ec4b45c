// JSON Patch (RFC 6902) on plain values, and the difference between two values.

export const isContainer = (value) => typeof value === "object" && value !== null;

/** Return `value` after the operations of a patch; the given value is not changed. Throws where a path does not exist. */
export function applyPatch(value, operations) {
  const root = { "": structuredClone(value) };
  for (const { op, path, from, value: given } of operations) {
    if (op === "remove") take(...locate(root, path));
    else if (op === "move") put(...locate(root, path), take(...locate(root, from)), "add");
    else if (op === "copy") put(...locate(root, path), structuredClone(get(...locate(root, from))), "add");
    else if (op !== "test") put(...locate(root, path), structuredClone(given), op);
  }
  return root[""];
}

/** Return the container of what a JSON Pointer names, and its name there. Only own members: `__proto__` is none. */
function locate(root, path) {
  const names = String(path).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = names.pop();
  const parent = names.reduce(get, root);
  if (!isContainer(parent) || last === "__proto__") throw new Error(`There is nothing at ${path}.`);
  return [parent, last];
}

function get(parent, name) {
  if (!isContainer(parent) || !Object.hasOwn(parent, name)) throw new Error(`There is no ${name}.`);
  return parent[name];
}

function put(parent, name, value, op) {
  if (!Array.isArray(parent)) parent[name] = value;
  else if (op === "replace") parent[Number(name)] = value;
  else parent.splice(name === "-" ? parent.length : Number(name), 0, value);
}

function take(parent, name) {
  const value = get(parent, name);
  if (Array.isArray(parent)) parent.splice(Number(name), 1);
  else delete parent[name];
  return value;
}

/** Return the paths (`/a/0/b`) at which two values differ: the deepest ones, with `added`, `changed` or `removed`. */
export function differences(before, after, path = "", found = new Map()) {
  if (Object.is(before, after)) return found;
  if (!isContainer(before) || !isContainer(after) || Array.isArray(before) !== Array.isArray(after)) {
    return found.set(path, before === undefined ? "added" : after === undefined ? "removed" : "changed");
  }
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    differences(before[name], after[name], `${path}/${name}`, found);
  }
  return found;
}
