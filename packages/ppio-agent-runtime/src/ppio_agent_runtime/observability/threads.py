"""A thread for one call, which nothing else can keep waiting: no handler, no other library's pool."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_thread(function: Callable[..., T], *args: Any, name: str) -> asyncio.Future[T]:
    """Return a future of the running loop for `function(*args)`, called in a new daemon thread.

    Whatever is raised there that is no `Exception`, such as `SystemExit`, arrives as a RuntimeError. An exit of the
    process does not wait for the thread.

    Args:
        name: Of the thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def call() -> None:
        settle: tuple[Callable[[Any], None], Any]
        try:
            settle = future.set_result, function(*args)
        except Exception as error:  # noqa: BLE001  # whoever awaits the future gets it
            settle = future.set_exception, error
        except BaseException as error:  # noqa: BLE001  # a future cannot carry these
            settle = future.set_exception, RuntimeError(f"it raised {type(error).__name__}")
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(finish, *settle)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
