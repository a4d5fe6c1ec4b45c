"""FastAPI or Starlette (`FRAMEWORK`), as their documentation writes it."""

import inspect
import json
import os
from typing import Any

import uvicorn
from handlers import PORT, STREAMS, handler
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

IS_ASYNC = inspect.iscoroutinefunction(handler)


async def async_events(generator):
    """Frame the values of an async generator."""
    async for value in generator:
        yield f"data: {json.dumps(value)}\n\n"


def events(generator):
    """Frame the values of a generator."""
    for value in generator:
        yield f"data: {json.dumps(value)}\n\n"


async def result_of(request):
    """Return the handler's answer, or a stream of it."""
    if STREAMS:
        generator = handler(request)
        framed = async_events(generator) if inspect.isasyncgen(generator) else events(generator)
        return StreamingResponse(framed, media_type="text/event-stream")
    result = await handler(request) if IS_ASYNC else await run_in_threadpool(handler, request)
    return {"result": result, "status": "success"}


if os.environ.get("FRAMEWORK") == "fastapi":
    from fastapi import FastAPI

    app: Any = FastAPI()

    @app.post("/invocations", response_model=None)
    async def invocations(request: dict[str, Any]):
        """Let FastAPI decode and encode."""
        return await result_of(request)

    @app.get("/ping")
    async def ping():
        """Say that it is up."""
        return {"status": "Healthy"}

else:
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def invoke(request):
        """Decode and encode."""
        result = await result_of(await request.json())
        return result if STREAMS else JSONResponse(result)

    async def is_up(_request):
        """Say that it is up."""
        return JSONResponse({"status": "Healthy"})

    app = Starlette(routes=[Route("/invocations", invoke, methods=["POST"]), Route("/ping", is_up)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
