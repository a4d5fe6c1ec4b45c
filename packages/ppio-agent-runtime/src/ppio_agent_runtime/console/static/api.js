// Requests to the agent that serves the page. The key is asked for after a 401 and lives in a variable only.

export const base = new URL("./", document.baseURI);

/** Names of this console in the browser's storage: two agents of one origin below different paths do not mix. */
export const storageName = `ppio-console${base.pathname}`;

let key = null;
let asking = null;
let isLocked = false; // the last answer was 401
let declined = false; // the dialog was closed without a key
let askForKey = async () => null;
let tellLocked = () => {};

/** Set what shows the dialog; it is told whether a key was refused, and returns one, or null when the user gave none. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** Set what hears when the agent refuses requests for want of a key, and when it takes one. */
export function onLocked(tell) {
  tellLocked = tell;
}

/** Ask for the key again with the next request, after the dialog was closed without one. */
export function askAgain() {
  declined = false;
}

export const hasKey = () => key !== null;

function setLocked(value) {
  if (value === isLocked) return;
  isLocked = value;
  tellLocked(value);
}

/** What an agent answers instead of a result, or why no answer came. */
export class RequestError extends Error {
  constructor(message, { status = 0, type = "NetworkError", requestId = null, metadata = {}, headers = {} } = {}) {
    super(message);
    Object.assign(this, { status, type, requestId, metadata, headers });
  }
}

/** Return the error that a refused response carries: the envelope, or what a proxy in between said. */
export async function errorOf(response) {
  const headers = Object.fromEntries(response.headers);
  const text = await response.text().catch(() => "");
  let envelope = null;
  try {
    envelope = JSON.parse(text);
  } catch {
    // not from the agent
  }
  return new RequestError(envelope?.error ?? `HTTP ${response.status} ${response.statusText}`.trim(), {
    status: response.status,
    type: envelope?.error_type ?? "HTTPError",
    requestId: envelope?.metadata?.request_id ?? response.headers.get("x-ppio-request-id"),
    metadata: envelope?.metadata ?? {},
    headers,
  });
}

/**
 * Send a request below the page's own address; answers with an error status are returned, not thrown. After a 401 a
 * key is asked for and the request sent again, as nothing ran, until the agent takes it or the user gives none. Who gave
 * none is asked again when he does something, not by what the page reads now and then.
 *
 * @throws RequestError The agent could not be reached.
 */
export async function request(path, { method = "GET", headers = {}, body, signal } = {}) {
  const sent = { ...headers };
  if (method !== "GET") sent["X-PPIO-Console"] = "1";
  if (body !== undefined) sent["Content-Type"] = "application/json";
  for (;;) {
    const used = key;
    if (key !== null) sent.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(new URL(path, base), { method, headers: sent, body, signal, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new RequestError("The agent cannot be reached.");
    }
    if (response.status !== 401 || path === "ping") {
      if (path !== "ping" && key !== null && !declined) setLocked(false);
      return response;
    }
    setLocked(true);
    if (key === used) {
      if (declined && method === "GET") return response;
      asking ??= askForKey(used !== null).finally(() => (asking = null));
      const given = await asking;
      declined = given === null;
      if (declined) return response;
      key = given;
    }
    response.body?.cancel();
  }
}

/** Return the JSON of a GET; null where the agent does not tell it (404). Throws RequestError. */
export async function getJSON(path) {
  const response = await request(path);
  if (response.status === 404) return null;
  if (!response.ok && path !== "ping") throw await errorOf(response);
  return response.json();
}
