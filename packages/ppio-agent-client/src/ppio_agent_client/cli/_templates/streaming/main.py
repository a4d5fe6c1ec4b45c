"""An agent that answers word by word. Run it: ppio-agent dev"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

# One session is one sandbox is one process: what you keep here belongs to one conversation.
heard: list[str] = []


@app.entrypoint
async def answer(request: dict[str, Any]) -> AsyncIterator[str]:
    prompt = request.get("prompt", "")
    heard.append(prompt)
    for word in f"You said: {prompt}. That was message {len(heard)}.".split(" "):
        yield f"{word} "
        await asyncio.sleep(0.05)  # about the pace of a language model


if __name__ == "__main__":
    app.run()
