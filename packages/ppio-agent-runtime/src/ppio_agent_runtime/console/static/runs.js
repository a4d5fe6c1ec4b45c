// What a run says, computed from the list of its events alone: messages, tool calls, state, interrupts, usage.

import { applyPatch, differences } from "./patch.js";

/** Return what is known of a run before its first event. */
export function emptyView() {
  return {
    parts: [], // what the conversation shows, in order
    open: new Map(), // parts by id
    state: undefined,
    changes: new Map(), // of the state, by the last event about it: path -> added, changed, removed
    interrupts: [],
    progress: undefined,
    result: undefined,
    usage: null,
    error: null, // {message, type, requestId}
    ended: false,
    firstAt: null,
    lastAt: null,
    count: 0,
    bytes: 0,
  };
}

/** Return the view after all of `events`. */
export function viewOf(events) {
  return events.reduce(reduce, emptyView());
}

/** Bring `view` up to date with one more event, `{id, at, size, event, raw}`; returns it. Nothing an agent says throws. */
export function reduce(view, event) {
  view.count++;
  view.bytes += event.size;
  view.firstAt ??= event.at;
  view.lastAt = event.at;
  const data = dataOf(event);
  if (event.event === "progress") view.progress = data;
  else if (event.event === "done") {
    view.ended = true;
    if (data?.metadata?.interrupts && !view.interrupts.length) view.interrupts = data.metadata.interrupts;
    if (data?.result != null) setResult(view, data.result);
  } else if (event.event === "error") {
    view.ended = true;
    view.error = { message: data?.error, type: data?.error_type, requestId: data?.metadata?.request_id };
  } else if (typeof data === "string") text(view, { messageId: "plain", delta: data }, event);
  else if (isTyped(data)) apply(view, data, event);
  else view.parts.push({ kind: "value", value: data, at: event.at });
  return view;
}

/** Return the JSON of an event's data, the text itself where it is none. */
export function dataOf(event) {
  if (event.data === undefined) {
    let data;
    try {
      data = JSON.parse(event.raw);
    } catch {
      data = event.raw;
    }
    Object.defineProperty(event, "data", { value: data, configurable: true }); // not enumerable: it is not stored
  }
  return event.data;
}

export const isTyped = (data) => typeof data?.type === "string" && /^[A-Z][A-Z_]+$/.test(data.type);

/** Return the name by which an event is listed. */
export function typeOf(event) {
  const data = dataOf(event);
  return event.event === "chunk" ? (isTyped(data) ? data.type : "chunk") : event.event;
}

function apply(view, data, event) {
  try {
    (HANDLERS[data.type] ?? other)(view, data, event);
  } catch (error) {
    view.parts.push({ kind: "other", name: data.type, value: data, note: String(error), at: event.at });
  }
}

function part(view, kind, id, data, event, more = {}) {
  const key = `${kind}:${id}`;
  let found = view.open.get(key);
  if (!found) {
    found = { kind, id, at: event.at, endAt: null, subagent: data.subagentRunId ?? null, ...more };
    view.parts.push(found);
    view.open.set(key, found);
  }
  found.version = (found.version ?? 0) + 1;
  return found;
}

function text(view, data, event) {
  const found = part(view, "text", data.messageId, data, event, { text: "", role: data.role ?? "assistant" });
  found.text += data.delta ?? "";
}

function reasoning(view, data, event) {
  part(view, "reasoning", data.messageId, data, event, { text: "" }).text += data.delta ?? "";
}

function tool(view, data, event) {
  const found = part(view, "tool", data.toolCallId, data, event, { name: "", args: "", result: undefined });
  if (data.toolCallName) found.name = data.toolCallName;
  return found;
}

function end(kind, id) {
  return (view, data, event) => {
    const found = view.open.get(`${kind}:${data[id]}`);
    if (!found) return;
    found.endAt = event.at;
    found.version++;
  };
}

function setState(view, state) {
  view.changes = differences(view.state, state);
  view.state = state;
}

function setResult(view, result) {
  view.result = result;
  const said = view.parts.filter((each) => each.kind === "text").map((each) => each.text).join("");
  const isSaid = ({ kind, value }) => kind === "result" || (kind === "value" && JSON.stringify(value) === JSON.stringify(result));
  if (result?.interrupts || said === result || view.parts.some(isSaid)) return;
  view.parts.push({ kind: "result", value: result, at: view.lastAt });
}

function other(view, data, event) {
  view.parts.push({ kind: "other", name: data.name ?? data.type, value: data, at: event.at });
}

const nothing = () => {};

const HANDLERS = {
  TEXT_MESSAGE_START: text,
  TEXT_MESSAGE_CONTENT: text,
  TEXT_MESSAGE_CHUNK: text,
  TEXT_MESSAGE_END: end("text", "messageId"),
  REASONING_START: nothing,
  REASONING_END: nothing,
  REASONING_MESSAGE_START: reasoning,
  REASONING_MESSAGE_CONTENT: reasoning,
  REASONING_MESSAGE_CHUNK: reasoning,
  REASONING_MESSAGE_END: end("reasoning", "messageId"),
  REASONING_ENCRYPTED_VALUE: nothing,
  TOOL_CALL_START: tool,
  TOOL_CALL_ARGS: (view, data, event) => (tool(view, data, event).args += data.delta ?? ""),
  TOOL_CALL_CHUNK: (view, data, event) => (tool(view, data, event).args += data.delta ?? ""),
  TOOL_CALL_END: nothing,
  TOOL_CALL_RESULT: (view, data, event) => Object.assign(tool(view, data, event), { result: data.content, endAt: event.at }),
  STATE_SNAPSHOT: (view, data) => setState(view, data.snapshot),
  STATE_DELTA: (view, data) => setState(view, applyPatch(view.state ?? {}, data.delta)),
  MESSAGES_SNAPSHOT: nothing,
  ACTIVITY_SNAPSHOT: (view, data, event) => {
    const found = part(view, "activity", data.messageId, data, event, { name: data.activityType });
    if (found.value === undefined || data.replace !== false) found.value = data.content;
  },
  ACTIVITY_DELTA: (view, data, event) => {
    const found = part(view, "activity", data.messageId, data, event, { name: data.activityType });
    found.value = applyPatch(found.value ?? {}, data.patch);
  },
  STEP_STARTED: (view, data, event) => {
    view.open.delete(`step:${data.stepName}`);
    part(view, "step", data.stepName, data, event, { name: data.stepName });
  },
  STEP_FINISHED: end("step", "stepName"),
  SUBAGENT_STARTED: (view, data, event) => part(view, "subagent", data.subagentRunId, data, event, { name: data.name }),
  SUBAGENT_FINISHED: end("subagent", "subagentRunId"),
  SUBAGENT_ERROR: (view, data, event) =>
    Object.assign(part(view, "subagent", data.subagentRunId, data, event, { name: "" }), { error: data.message, endAt: event.at }),
  RAW: nothing, // in Events
  RUN_STARTED: nothing,
  RUN_FINISHED: (view, data) => {
    if (data.outcome?.type === "interrupt") view.interrupts = data.outcome.interrupts ?? [];
    if (data.usage) view.usage = data.usage;
    if (data.result != null) setResult(view, data.result);
  },
  RUN_ERROR: (view, data) => (view.error = { message: data.message, type: data.code }),
  CUSTOM: (view, data, event) => {
    if (data.name === "ppio.chunk") view.parts.push({ kind: "value", value: data.value, at: event.at });
    else other(view, data, event);
  },
};
