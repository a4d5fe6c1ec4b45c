// The client of @a2a-js/sdk against `process.argv[2]`, by the binding and version of the two further arguments.
import { ClientFactory, JsonRpcTransportFactory, RestTransportFactory } from "@a2a-js/sdk/client";
import { Role, TaskState, taskStateToJSON } from "@a2a-js/sdk";

const [url, binding, version] = process.argv.slice(2);
const card = await (await fetch(`${url}/.well-known/agent-card.json`)).json();
card.supportedInterfaces = card.supportedInterfaces.filter(
  (each) => each.protocolBinding === binding && each.protocolVersion === version,
);
const legacy = version === "0.3" ? { legacyCompat: { enabled: true } } : {};
const factory = new ClientFactory({
  transports: [new JsonRpcTransportFactory(legacy), new RestTransportFactory(legacy)],
  cardResolver: {
    resolve: async () => card,
    normalize: (each) => each,
  },
});
const client = await factory.createFromUrl(url);

function saying(text, messageId, more = {}) {
  const parts = [{ content: { $case: "text", value: text }, mediaType: "", filename: "", metadata: undefined }];
  const rest = { contextId: "", taskId: "", extensions: [], referenceTaskIds: [], metadata: undefined, ...more };
  return { tenant: "", message: { messageId, role: Role.ROLE_USER, parts, ...rest }, metadata: undefined };
}

async function heard(events) {
  const told = { deltas: [], data: [], states: [], question: [] };
  for await (const { payload } of events) {
    if (payload.$case === "task") told.task = payload.value;
    if (payload.$case === "artifactUpdate" && !payload.value.lastChunk) {
      told.deltas.push(payload.value.artifact.parts[0].content.value);
    }
    if (payload.$case !== "statusUpdate") continue;
    const { state, message } = payload.value.status;
    told.states.push(taskStateToJSON(state));
    for (const part of message?.parts ?? []) {
      if (state === TaskState.TASK_STATE_WORKING) told.data.push(part.content.value.type);
      else told.question.push(part.content.value);
    }
  }
  return told;
}

const told = {};
told.asked = await heard(client.sendMessageStream(saying("ask", "1", { contextId: "c" })));
const taskId = told.asked.task.id;
told.answered = await heard(client.sendMessageStream(saying("yes", "2", { taskId, contextId: "c" })));
const whole = await client.getTask({ tenant: "", id: taskId });
told.whole = whole.artifacts.map((artifact) => artifact.parts[0].content.value);
told.state = taskStateToJSON(whole.status.state);
const plain = await new ClientFactory().createFromUrl(url); // as it reads and chooses by itself
const failed = await plain.sendMessage(saying("fail later", "3"));
told.failed = [taskStateToJSON((failed.payload?.value ?? failed).status.state)];

const waiting = client.sendMessageStream(saying("wait", "4"));
const first = (await waiting.next()).value.payload.value;
await waiting.next();
await waiting.return();
const again = client.resubscribeTask({ tenant: "", id: first.id });
told.again = [(await again.next()).value.payload.$case, (await again.next()).value.payload.$case];
await again.return();
told.cancelled = taskStateToJSON((await client.cancelTask({ tenant: "", id: first.id })).status.state);
try {
  await client.getTask({ tenant: "", id: "none" });
} catch (error) {
  told.error = error.constructor.name;
}
console.log(JSON.stringify(told));
