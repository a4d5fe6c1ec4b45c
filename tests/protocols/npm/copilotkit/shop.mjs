// CopilotKit's runtime, asked as its page asks it.
import { HttpAgent } from "@ag-ui/client";
import { CopilotRuntime, createCopilotEndpoint } from "@copilotkit/runtime/v2";

const runtime = new CopilotRuntime({ agents: { shop: new HttpAgent({ url: `${process.argv[2]}/ag-ui` }) } });
const endpoint = createCopilotEndpoint({ runtime, basePath: "/api/copilotkit" });
const events = [];
const messages = [];

async function run(more = {}) {
  const runId = crypto.randomUUID();
  const body = { threadId: "copilotkit", runId, messages, tools: [], context: [], state: {}, forwardedProps: {}, ...more };
  const request = new Request("http://localhost/api/copilotkit/agent/shop/run", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
  });
  const text = await (await endpoint.fetch(request)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("data: "));
  events.push(...lines.map((line) => JSON.parse(line.slice("data: ".length))));
}

for (const content of ["time?", "buy tea"]) {
  events.push({ type: "USER", content });
  messages.push({ id: content, role: "user", content });
  await run();
}
events.push({ type: "USER", content: "approved" });
const [question] = events.at(-2).outcome.interrupts;
await run({ resume: [{ interruptId: question.id, status: "resolved", payload: { approved: true } }] });
console.log(JSON.stringify({ events }));
process.exit(0);
