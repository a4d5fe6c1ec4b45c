"""An agent that answers at once. Run it: ppio-agent dev"""

from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

# One session is one sandbox is one process: what you keep here belongs to one conversation.
heard: list[str] = []


@app.entrypoint
def answer(request: dict[str, Any]) -> dict[str, Any]:
    prompt = request.get("prompt", "")
    heard.append(prompt)
    return {"answer": f"You said: {prompt}", "messages_so_far": len(heard)}


if __name__ == "__main__":
    app.run()
