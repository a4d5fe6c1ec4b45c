"""Startup and shutdown of the app, on the loop that its handlers run on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from .observability.logging import logger

if TYPE_CHECKING:
    from .asgi import Receive, Scope, Send


LifespanFunction = Callable[[Any], Any]
"""An async context manager function that takes the app, or the async generator function under one."""


def as_context_manager(function: LifespanFunction) -> LifespanFunction:
    """Return `function` as an async context manager function; a bare async generator function is wrapped."""
    return asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function


async def serve_lifespan(scope: Scope, receive: Receive, send: Send, managers: Callable[[], list[Any]]) -> None:
    """Speak the ASGI lifespan protocol: enter all managers at startup, leave them in reverse order at shutdown.

    Args:
        managers: Makes the async context managers; what one of them yields as a dict goes into `scope["state"]`.
    """
    await receive()
    entered = False
    try:
        async with AsyncExitStack() as stack:
            for manager in managers():
                state = await stack.enter_async_context(manager)
                if isinstance(state, dict) and "state" in scope:
                    scope["state"].update(state)
            entered = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # also sys.exit() in a startup
        phase = "shutdown" if entered else "startup"
        logger.exception("The %s of the app failed.", phase)
        await send({"type": f"lifespan.{phase}.failed", "message": f"{type(error).__name__}: {error}"})
    else:
        await send({"type": "lifespan.shutdown.complete"})
