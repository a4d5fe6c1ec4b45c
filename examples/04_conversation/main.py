"""A conversation. One session is one sandbox, so what is said lives in the process: no database, and here no model.

06_backend_async.py and 07_backend_sync.py call it; demo.py shows its whole life.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from ppio_agent_runtime import PPIOAgentRuntimeApp

TOLD = re.compile(r"\bmy ([\w ]+?) is (.+?)(?= and my |[.,;!?]|$)", re.IGNORECASE)
ASKED = re.compile(r"\bwhat(?:'s| is) my ([\w ]+)", re.IGNORECASE)

app = PPIOAgentRuntimeApp()
memory: dict[str, str] = {}


def reply(prompt: str) -> str:
    if asked := ASKED.search(prompt):
        thing = asked[1].lower()
        return f"Your {thing} is {memory[thing]}." if thing in memory else f"You have not told me your {thing} yet."
    if told := {thing.lower(): value for thing, value in TOLD.findall(prompt)}:
        memory.update(told)
        return f"I will remember your {' and your '.join(told)}."
    if memory:
        return "I know that " + " and that ".join(f"your {thing} is {value}" for thing, value in memory.items()) + "."
    return "Tell me something about you, such as: my name is Ada."


@app.entrypoint
async def converse(request: dict[str, Any]) -> AsyncIterator[str]:
    for word in re.findall(r"\S+\s*", reply(request.get("prompt", ""))):
        yield word
        await asyncio.sleep(0.05)  # about the pace of a language model


if __name__ == "__main__":
    app.run()
