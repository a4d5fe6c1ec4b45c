"""The base of every ratio: JSON, the handler, JSON, on `uvicorn.run` with uvloop and httptools. Nothing else."""

import asyncio
import inspect
import json
import os
from functools import cache

import uvicorn
from handlers import PORT, STREAMS, handler

THREADS = 256
IS_ASYNC = inspect.iscoroutinefunction(handler)
ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
ENVELOPE = {"status": "success"}
HEADERS = []
if "WHOLE_ENVELOPE" in os.environ:  # for clients, which have to read all of it
    ENVELOPE |= {"duration": 0.001, "metadata": {"request_id": "r-1"}, "error": None, "error_type": None}
    HEADERS = [(b"ppio-agent-protocol", b"1"), (b"x-ppio-request-id", b"r-1"), (b"x-ppio-invocation-id", b"i-1")]


@cache
def threads():
    """Return the pool for plain functions, made when the first one runs."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(THREADS)


def encode(value):
    """Return JSON."""
    return ENCODE(value).encode()


async def answer(send, body):
    """Send a whole answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(generator, send):
    """Send a chunk for each value."""
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    if inspect.isasyncgen(generator):
        async for value in generator:
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % encode(value), "more_body": True})
    else:
        for value in generator:
            await send({"type": "http.response.body", "body": b"data: %b\n\n" % encode(value), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def app(scope, receive, send):
    """Answer `/ping` and everything else."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"]:
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return None
    if scope["path"] == "/ping":
        return await answer(send, b'{"status":"Healthy"}')
    parts = []
    while True:
        message = await receive()
        parts.append(message["body"])
        if not message["more_body"]:
            break
    request = json.loads(parts[0] if len(parts) == 1 else b"".join(parts))
    if STREAMS:
        return await stream(handler(request), send)
    if IS_ASYNC:
        result = await handler(request)
    else:
        result = await asyncio.get_running_loop().run_in_executor(threads(), handler, request)
    return await answer(send, encode({"result": result, **ENVELOPE}))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
