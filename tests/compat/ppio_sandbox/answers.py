"""An agent of ppio-sandbox that answers in each way that its app knows."""

import os

from ppio_sandbox.agent_runtime import AgentRuntimeApp, PingStatus, RequestContext
from ppio_sandbox.agent_runtime.runtime import AgentRuntimeContext, RuntimeConfig

app = AgentRuntimeApp(config=RuntimeConfig(debug=True, max_request_size=5000))
seen = []


@app.middleware
async def outer(request, call_next):
    seen.append("outer")
    return await call_next()


@app.middleware
async def inner(request, call_next):
    seen.append("inner")
    response = await call_next(request)
    response.headers["x-seen"] = " ".join(seen)
    return response


@app.entrypoint
def answer(request: dict, about: RequestContext):
    same = AgentRuntimeContext.get_current_context()
    if request.get("fail"):
        raise ValueError("no map")
    return {
        "given": request,
        "sandbox": [about.sandbox_id, about.session_id],
        "team": about.headers.get("x-team"),
        "same": same is None or same.request_id == about.request_id,
        "request_id": about.request_id,
    }


@app.ping
async def health():
    return {"status": "busy", "message": "two jobs"}


assert PingStatus.HEALTHY_BUSY == "HealthyBusy"

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), host="127.0.0.1")
