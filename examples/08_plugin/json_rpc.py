"""A plugin: JSON-RPC 2.0 at `POST /rpc`, on the same handler, under the same limits as `/invocations`.

The method `invoke` takes the payload as its params; `stream` answers with one JSON document per line.
"""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ppio_agent_runtime import EncodedEvent, EventEncoder, PPIOAgentRuntimeApp, PPIOAgentRuntimeError


class JsonRpc:
    def install(self, app: PPIOAgentRuntimeApp) -> None:
        self.app = app
        app.add_route("/rpc", self.answer)

    async def answer(self, request: Request) -> Response:
        call, number = await self.app.read_json(request), None
        try:
            method, params, number = call["method"], call.get("params", {}), call.get("id")
            context = self.app.context_for(request, protocol="jsonrpc")
            if method == "invoke":
                result = await self.app.invoke(params, context, stream=False)
                return JSONResponse({"jsonrpc": "2.0", "id": number, "result": result})
            if method == "stream":
                stream = await self.app.invoke(params, context, stream=True)
                return self.app.event_stream(stream, Lines(number), media_type="application/x-ndjson", heartbeat=b"")
        except (KeyError, TypeError, AttributeError):
            return JSONResponse(failure(number, -32600, "Invalid Request"))
        except PPIOAgentRuntimeError as error:
            return JSONResponse(failure(number, -32000, error.message))
        return JSONResponse(failure(number, -32601, "Method not found"))


class Lines(EventEncoder):
    def __init__(self, number: Any) -> None:
        self.number = number

    def events(self, events: list[EncodedEvent]) -> bytes:
        start = b'{"jsonrpc": "2.0", "id": %b, "result": ' % json.dumps(self.number).encode()
        return b"".join([b"%b%b}\n" % (start, event.json) for event in events])

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        return json.dumps(failure(self.number, -32000, error.message)).encode() + b"\n"


def failure(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
