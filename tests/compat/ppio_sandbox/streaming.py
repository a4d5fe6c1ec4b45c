"""An agent of ppio-sandbox that streams."""

import asyncio
import os

from ppio_sandbox.agent_runtime import AgentRuntimeApp

app = AgentRuntimeApp()


class Step:
    def __str__(self):
        return "step"


@app.entrypoint
async def stream(request):
    for word in request["words"]:
        await asyncio.sleep(0)
        yield word
    yield Step()
    if request.get("fail"):
        raise ValueError("no map")


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), host="127.0.0.1")
