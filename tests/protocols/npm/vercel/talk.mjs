// The AI SDK against `process.argv[2]`: what `useChat` is made of, and its models over both APIs of OpenAI.
import { createOpenAI } from "@ai-sdk/openai";
import { DefaultChatTransport, readUIMessageStream, streamText } from "ai";

const url = process.argv[2];
const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
const common = { trigger: "submit-message", chatId: "chat", messageId: undefined, abortSignal: undefined };

async function sent(messages, onMessage = () => {}) {
  const last = messages.at(-1);
  const stream = await transport.sendMessages({ ...common, messages });
  let message = last.role === "assistant" ? last : undefined;
  for await (const each of readUIMessageStream({ message, stream })) onMessage((message = each));
  return message;
}

const user = (text) => ({ id: "u", role: "user", parts: [{ type: "text", text }] });
const told = {};
const asked = await sent([user("ask")]);
told.parts = asked.parts.map((part) => part.type);
told.text = asked.parts.filter((part) => part.type === "text").map((part) => part.text);
told.output = asked.parts.find((part) => part.type === "dynamic-tool" && part.state === "output-available").output;
const question = asked.parts.find((part) => part.state === "approval-requested");
const approved = asked.parts.map((part) =>
  part === question ? { ...part, state: "approval-responded", approval: { ...part.approval, approved: true } } : part,
);
const answered = await sent([user("ask"), { ...asked, parts: approved }]);
told.answered = answered.parts.at(-1).text;
try {
  await sent([user("fail at once")]);
} catch (error) {
  told.failed = error.message;
}

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "key" });
for (const [name, model] of [
  ["responses", openai.responses("m")],
  ["chat", openai.chat("m")],
]) {
  const types = [];
  const result = streamText({ model, prompt: "time?", maxRetries: 0 });
  for await (const part of result.fullStream) types.push(part.type);
  told[name] = { text: await result.text, types: [...new Set(types)], tools: types.filter((t) => t.startsWith("tool-")) };
}
console.log(JSON.stringify(told));
