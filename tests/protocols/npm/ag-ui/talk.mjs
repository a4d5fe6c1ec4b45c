// HttpAgent of @ag-ui/client against `process.argv[2]`.
import { HttpAgent } from "@ag-ui/client";

function agentFor(prompt, more = {}) {
  const initialMessages = [{ id: "u", role: "user", content: prompt }];
  return new HttpAgent({ url: process.argv[2], threadId: "thread", initialMessages, ...more });
}

const told = { deltas: [] };
const agent = agentFor("ask");
const types = [];
await agent.runAgent(
  { runId: "r1" },
  {
    onEvent: ({ event }) => void types.push(event.type),
    onTextMessageContentEvent: ({ event }) => void told.deltas.push(event.delta),
  },
);
told.types = [types[0], types.at(-1)];
told.state = agent.state;
told.messages = agent.messages.map(({ role, content, toolCalls }) => [role, content ?? toolCalls[0].function.name]);
told.interrupts = agent.pendingInterrupts.map(({ id, message }) => [id, message]);
await agent.runAgent({ runId: "r2", resume: [{ interruptId: "q", status: "resolved", payload: "yes" }] });
told.answered = agent.messages.at(-1).content;
told.pending = agent.pendingInterrupts.length;

const tool = { name: "weather", description: "", parameters: { type: "object", properties: {} } };
const caller = agentFor("time?");
await caller.runAgent({ tools: [tool] });
told.asked = caller.messages.at(-1).toolCalls?.[0].function;

const failing = agentFor("fail later");
await failing.runAgent({}, { onRunErrorEvent: ({ event }) => void (told.failed = event.message) }).catch(() => {});

const waiting = agentFor("wait");
await waiting.runAgent({}, { onTextMessageContentEvent: () => waiting.abortRun() }).catch(() => {});
told.aborted = waiting.messages.at(-1).content;
console.log(JSON.stringify(told));
