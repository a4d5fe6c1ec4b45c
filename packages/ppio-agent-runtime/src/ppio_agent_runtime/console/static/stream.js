// One run over the wire: POST, server-sent events, coming back after a cut, cancel.

import { errorOf, request, RequestError } from "./api.js";
import { now } from "./html.js";

export const EVENT_HEADERS = { "PPIO-Agent-Protocol": "1", "PPIO-Agent-Events": "1", Accept: "text/event-stream" };

/** Begin a run, or join the one that this Idempotency-Key began. Returns the response; throws RequestError. */
export async function post(body, headers, signal) {
  const response = await request("invocations", { method: "POST", headers, body, signal });
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Read the events of a run after the one with the number `lastEventId`. Returns the response; throws RequestError. */
export async function resume(id, lastEventId, signal) {
  const headers = { ...EVENT_HEADERS, "Last-Event-ID": String(lastEventId) };
  const response = await request(`invocations/${encodeURIComponent(id)}/events`, { headers, signal });
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Ask the agent to stop a run. Returns its state; throws RequestError when that is not confirmed. */
export async function cancel(id) {
  const response = await request(`invocations/${encodeURIComponent(id)}`, { method: "DELETE" });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()).state;
}

export const isEventStream = (response) => (response.headers.get("content-type") ?? "").startsWith("text/event-stream");

/**
 * Iterate over the events of a response: `{id, at, size, event, raw}`, where `event` is the name (`chunk` where there
 * is none) and `raw` the data. Comments are given as `{comment: true}`. The end without `done` or `error` is a cut:
 * RequestError of the type StreamInterruptedError.
 */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        return { done: true };
      });
      if (done) throw new RequestError("The connection was lost.", { type: "StreamInterruptedError" });
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        yield event;
        if (event.event === "done" || event.event === "error") return;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { id: null, at: now(), size: block.length + 2, event: "chunk", raw: "" };
  let fields = 0;
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    fields++;
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (line.startsWith("data:")) event.raw += (event.raw && "\n") + value;
    else if (line.startsWith("id:")) event.id = Number(value);
    else if (line.startsWith("event:")) event.event = value;
  }
  return fields ? event : { comment: true };
}
