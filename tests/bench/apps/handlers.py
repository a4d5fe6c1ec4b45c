"""What every server under test runs. `MODE` names one of the handlers; each takes the decoded body, a dict."""

import asyncio
import os
import time

MODE = os.environ.get("MODE", "echo")
PORT = int(os.environ.get("PORT", "8080"))
STREAMS = MODE in ("stream", "sync_stream", "live")
PLAIN = MODE.startswith("sync_")
BIG = {"messages": [{"id": i, "role": "assistant", "content": "lorem ipsum dolor " * 54} for i in range(990)]}
"""About 1 MB of JSON."""
BIGGER = {"messages": BIG["messages"] * 10}


def sync_echo(request):
    """Answer at once."""
    if "bigger" in request:
        return BIGGER
    return BIG if "big" in request else {"reply": request["prompt"][:16], "ok": True}


async def echo(request):
    """Answer at once."""
    return sync_echo(request)


def sync_sleep(_request):
    """Block a thread for 50 ms."""
    time.sleep(0.05)
    return {"ok": True}


async def sleep(_request):
    """Wait for 50 ms."""
    await asyncio.sleep(0.05)
    return {"ok": True}


async def block(_request):
    """Block the event loop for 50 ms, as an agent must not."""
    time.sleep(0.05)  # the point of it
    return {"ok": True}


async def stream(request):
    """Yield `count` tokens, `pause` seconds apart."""
    pause = request.get("pause", 0)
    for index in range(request.get("count", 10)):
        if pause:
            await asyncio.sleep(pause)
        yield {"i": index, "token": "hello"}


async def live(request):
    """Yield `count` tokens with the times at which they are due, `pause` seconds apart."""
    due = time.time()
    for _ in range(request["count"]):
        due += request["pause"]
        await asyncio.sleep(max(0, due - time.time()))
        yield {"due": due, "token": "hello"}


def sync_stream(request):
    """Yield the same from a plain generator."""
    pause = request.get("pause", 0)
    for index in range(request.get("count", 10)):
        if pause:
            time.sleep(pause)
        yield {"i": index, "token": "hello"}


handler = globals()[MODE]
