// The openai package of npm, which is stricter than the one of Python, against `process.argv[2]`.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "key", maxRetries: 0 });
const told = {};

const chat = client.chat.completions.stream({ model: "m", messages: [{ role: "user", content: "time?" }] });
told.deltas = [];
chat.on("content", (delta) => told.deltas.push(delta));
told.chat = (await chat.finalChatCompletion()).choices[0].message.content;

const responses = client.responses.stream({ model: "m", input: "time?" });
const response = await responses.finalResponse();
told.response = response.output_text;
told.items = response.output.map((item) => item.type);

const background = await client.responses.create({ model: "m", input: "time?", background: true, stream: true });
let last;
for await (const event of background) last = event;
const rest = await client.responses.retrieve(last.response.id, { stream: true, starting_after: 3 });
told.rest = [];
for await (const event of rest) told.rest.push(event.sequence_number);
told.last = last.sequence_number;

try {
  await client.responses.create({ model: "m", input: "fail at once" });
} catch (error) {
  told.error = [error.constructor.name, error.status, error.message, error.code];
}
try {
  await client.withOptions({ apiKey: "wrong" }).models.list();
} catch (error) {
  told.refused = [error.constructor.name, error.status];
}
console.log(JSON.stringify(told));
