"""A plugin: JSON-RPC 2.0 at `POST /rpc`, on the same handler, under the same limits as `/invocations`.

The method `invoke` takes the payload as its params; `stream` answers with one JSON document per line.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ppio_agent_runtime import InvocationStream, PPIOAgentRuntimeApp, PPIOAgentRuntimeError


class JsonRpc:
    def install(self, app: PPIOAgentRuntimeApp) -> None:
        self.app = app
        app.fastapi.add_route("/rpc", self.answer, methods=["POST"])

    async def answer(self, request: Request) -> Response:
        try:
            call = await request.json()
            method, params, number = call["method"], call.get("params", {}), call.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse(failure(None, -32600, "Invalid Request"))
        context = self.app.context_for(request)
        try:
            if method == "invoke":
                return JSONResponse(success(number, await self.app.invoke(params, context, stream=False)))
            if method == "stream":
                chunks = await self.app.invoke(params, context, stream=True)
                return StreamingResponse(lines(chunks, number), media_type="application/x-ndjson")
        except PPIOAgentRuntimeError as error:
            return JSONResponse(failure(number, -32000, error.message))
        return JSONResponse(failure(number, -32601, "Method not found"))


async def lines(chunks: InvocationStream, number: Any) -> AsyncIterator[str]:
    async with chunks:  # a caller who hangs up ends this block, and with it the handler
        try:
            async for chunk in chunks:
                yield json.dumps(success(number, chunk)) + "\n"
        except PPIOAgentRuntimeError as error:
            yield json.dumps(failure(number, -32000, error.message)) + "\n"


def success(number: Any, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failure(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
