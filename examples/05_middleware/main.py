"""Around the agent: a middleware for every route, a health check of its own, and settings.

python examples/05_middleware/main.py
curl localhost:8080/invocations -H 'X-Tenant: acme' --json '{"prompt": "hello"}'
curl localhost:8080/ping
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext

# Each of these can come from the environment instead: PPIO_AGENT_TIMEOUT=20 and so on.
app = PPIOAgentRuntimeApp(AgentConfig(timeout=20, max_request_size=64 * 1024))
answered: dict[str, int] = {}


@app.middleware
async def tenants_only(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    began = time.perf_counter()
    if request.url.path == "/invocations" and "x-tenant" not in request.headers:
        return JSONResponse({"error": "Send the header X-Tenant."}, status_code=403)
    response = await call_next(request)
    response.headers["X-Seconds"] = f"{time.perf_counter() - began:.6f}"
    return response


@app.ping
def health() -> dict[str, Any]:
    return {"status": "healthy", "answered": sum(answered.values())}


@app.entrypoint
async def shout(request: dict[str, Any], context: RequestContext) -> str:
    tenant = context.headers["x-tenant"]
    answered[tenant] = answered.get(tenant, 0) + 1
    return f"{tenant}: {request.get('prompt', '').upper()}"


if __name__ == "__main__":
    app.run()
