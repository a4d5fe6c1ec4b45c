// CopilotKit's runtime with `process.argv[2]` as its agent, asked as the page asks it, without a browser.
import { HttpAgent } from "@ag-ui/client";
import { CopilotRuntime, createCopilotEndpoint } from "@copilotkit/runtime/v2";

const runtime = new CopilotRuntime({ agents: { clock: new HttpAgent({ url: `${process.argv[2]}/ag-ui` }) } });
const endpoint = createCopilotEndpoint({ runtime, basePath: "/api/copilotkit" });

async function run(runId, more) {
  const body = { threadId: "thread", runId, messages: [], tools: [], context: [], state: {}, forwardedProps: {}, ...more };
  const request = new Request("http://localhost/api/copilotkit/agent/clock/run", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
  });
  const text = await (await endpoint.fetch(request)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("data: "));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)));
}

const info = await (await endpoint.fetch(new Request("http://localhost/api/copilotkit/info"))).json();
const asked = await run("r1", { messages: [{ id: "u", role: "user", content: "ask" }] });
const resume = [{ interruptId: "q", status: "resolved", payload: "yes" }];
const answered = await run("r2", { resume });
const said = (events) => events.filter((event) => event.type === "TEXT_MESSAGE_CONTENT").map((event) => event.delta);
console.log(
  JSON.stringify({
    agents: Object.keys(info.agents),
    types: asked.map((event) => event.type),
    deltas: said(asked),
    answered: said(answered),
    last: [asked.at(-1), answered.at(-1)],
  }),
);
process.exit(0);
