// What `useChat` is made of: its transport, its reader, and its state, which keeps messages and answers a question.
import { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index, message) => void (this.messages[index] = structuredClone(message));
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options) {
    super({ state: new State(), ...options });
  }
}

const chat = new Chat({
  id: "vercel",
  transport: new DefaultChatTransport({ api: `${process.argv[2]}/api/chat` }),
  sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  onFinish: () => finished?.(),
});
let finished;

await chat.sendMessage({ text: "time?" });
await chat.sendMessage({ text: "buy tea" });
const asked = structuredClone(chat.messages.at(-1).parts);
const question = asked.find((part) => part.state === "approval-requested");
const answered = new Promise((resolve) => (finished = resolve));
await chat.addToolApprovalResponse({ id: question.approval.id, approved: true });
await answered; // sent by itself, once no question is open
if (chat.error) throw chat.error;
console.log(JSON.stringify({ messages: chat.messages, asked }));
