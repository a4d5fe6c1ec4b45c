// `HttpAgent`, which keeps the messages and the questions, and answers one.
import { HttpAgent } from "@ag-ui/client";

const agent = new HttpAgent({ url: `${process.argv[2]}/ag-ui`, threadId: "ag-ui" });
const events = [];

async function run(more = {}) {
  await agent.runAgent(more, { onEvent: ({ event }) => void events.push(event) });
}

for (const content of ["time?", "buy tea"]) {
  events.push({ type: "USER", content });
  agent.addMessage({ id: content, role: "user", content });
  await run();
}
events.push({ type: "USER", content: "approved" });
await run({ resume: [{ interruptId: agent.pendingInterrupts[0].id, status: "resolved", payload: { approved: true } }] });
console.log(JSON.stringify({ events, messages: agent.messages }));
