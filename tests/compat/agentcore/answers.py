"""An agent for AgentCore that answers in each way that its app knows."""

import os
from dataclasses import dataclass

from bedrock_agentcore import BedrockAgentCoreApp, BedrockAgentCoreContext
from bedrock_agentcore import RequestContext as CallContext
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

app = BedrockAgentCoreApp()


@dataclass
class Route:
    start: str
    stops: list[str]


class Ticket:
    def __str__(self) -> str:
        return "ticket 7"


async def legs():
    yield "first leg"
    yield {"leg": 2}


@app.entrypoint
async def plan(payload, context: CallContext):
    wish = payload.get("wish")
    if wish == "who":
        return {
            "session": context.session_id,
            "headers": context.request_headers,
            "method": context.request.method,
            "ids": [BedrockAgentCoreContext.get_request_id(), BedrockAgentCoreContext.get_session_id()],
            "token": BedrockAgentCoreContext.get_workload_access_token(),
            "callback": BedrockAgentCoreContext.get_oauth2_callback_url(),
            "same": BedrockAgentCoreContext.get_request_headers() == context.request_headers,
        }
    if wish == "route":
        return Route("Porto", ["Aveiro", "Coimbra"])
    if wish == "ticket":
        return {"ticket": Ticket()}
    if wish == "teapot":
        return PlainTextResponse("short and stout", status_code=418)
    if wish == "refuse":
        raise HTTPException(status_code=409, detail="There is no train today.")
    if wish == "legs":
        return legs()
    if wish == "fail":
        raise ValueError("no map")
    return f"Where is {wish}? Ägypten?"


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
