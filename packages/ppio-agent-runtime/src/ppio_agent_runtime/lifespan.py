"""Startup and shutdown of the app, on the event loop of its handlers; it may be one of several workers."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from ppio_agent_models import ConfigurationError

from .observability.logging import logger

if TYPE_CHECKING:
    from .asgi import Receive, Scope, Send
    from .config import AgentConfig

LifespanFunction = Callable[[Any], Any]
"""An async context manager function that takes the app, or the async generator function under one."""


def as_context_manager(function: LifespanFunction) -> LifespanFunction:
    """Return `function` as an async context manager function; a bare async generator function is wrapped.

    Raises:
        ConfigurationError: It cannot be called.
    """
    if not callable(function):
        raise ConfigurationError("Write @app.on_lifespan without parentheses, above an async context manager function.")
    return asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function


async def serve_lifespan(scope: Scope, receive: Receive, send: Send, managers: Callable[[], list[Any]]) -> None:
    """Implement the ASGI lifespan protocol: enter all managers at startup, leave them in reverse order at shutdown.

    Args:
        managers: Makes the async context managers; a dict that one yields is added to `scope["state"]`.
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


def known_workers() -> int:
    """Return how many workers serve the app, from the options or the variable that uvicorn, gunicorn and others read.

    1 if they set nothing; a number in a configuration file is not detected.
    """
    options = iter(sys.argv[1:])
    for option in options:
        name, has_value, value = option.partition("=")
        if name in ("-w", "--workers"):
            return _number(value if has_value else next(options, ""))
        if option.startswith("-w") and not option.startswith("--"):
            return _number(option[2:])
    return _number(os.environ.get("WEB_CONCURRENCY", ""))


def warn_of_workers(config: AgentConfig) -> None:
    """Log that durable invocations are not shared, if there are several workers."""
    if config.event_store is not None or (workers := known_workers()) < 2:
        return
    logger.warning(
        "This is one of %d workers, and each keeps its own durable invocations: only one worker finds an invocation "
        "that was submitted or has an Idempotency-Key. Set event_store to a sqlite:/// or redis:// URL, or run one "
        "worker.",
        workers,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1
