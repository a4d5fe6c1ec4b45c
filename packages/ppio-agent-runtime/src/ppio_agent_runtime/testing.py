"""For tests of agents: a real server on a real socket, stopped at the end of the block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .server import EXIT_FAILED, PPIOAgentRuntimeServer

if TYPE_CHECKING:
    from .app import PPIOAgentRuntimeApp

__all__ = ["running"]


@contextmanager
def running(app: PPIOAgentRuntimeApp) -> Iterator[str]:
    """Serve `app` on a free port of 127.0.0.1 from a thread, and yield the base URL.

    Requests that arrive before the app has started wait for it. The end of the block drains the server.

    Raises:
        ConfigurationError: The app has no entrypoint.
        RuntimeError: The app's lifespan failed.
    """
    server = PPIOAgentRuntimeServer(app, port=0, host="127.0.0.1")
    server.bind()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(server.run()), name="agent-server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        thread.join()
        if codes == [EXIT_FAILED]:
            raise RuntimeError("The app's lifespan failed; its log has the reason.")
