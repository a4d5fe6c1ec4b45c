"""An agent for AgentCore that tells its steps as they come; each kind of stream once."""

import asyncio
import os

from bedrock_agentcore.runtime import BedrockAgentCoreApp, BedrockAgentCoreContext

app = BedrockAgentCoreApp()


class Step:
    def __repr__(self) -> str:
        return "Step()"


@app.entrypoint
async def steps(payload):
    for number in range(payload.get("count", 2)):
        await asyncio.sleep(0)
        yield {"step": number, "session": BedrockAgentCoreContext.get_session_id()}
    yield "done, ünd well"
    yield {"step": Step()}
    if payload.get("fail"):
        raise KeyError("lost")


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
