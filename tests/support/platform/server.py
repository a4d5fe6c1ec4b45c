"""The platform on a real port: in a thread for tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from .app import Platform


class Server(uvicorn.Server):
    """A uvicorn that tells when it listens, and ends the sandboxes when it stops."""

    def __init__(self, platform: Platform, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(
            uvicorn.Config(
                platform,
                loop="asyncio",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                access_log=False,
                log_config=None,
                log_level="critical",
                backlog=4096,
            )
        )
        self._platform = platform
        self.listening = threading.Event()
        # With its protocol named, asyncio lets small answers go at once instead of collecting them for 40 ms.
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.listen(4096)
        # What is accepted here inherits it, as asyncio would set it for a socket that knows its protocol.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://{host}:{self.port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(8, "platform-work"))
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110  # set by a signal, or in another thread
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End everything at once: uvicorn's own way waits for callers who are gone, 0.1 s at least."""
        await self._platform.close()
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, *_: Any) -> None:
        super().run([self.socket])

    @property
    def connections(self) -> int:
        """How many callers are connected."""
        return len(self.server_state.connections)


@contextmanager
def serving(platform: Platform) -> Iterator[Server]:
    """Serve a platform from a thread; at the end nothing of it is left."""
    server = Server(platform)
    thread = threading.Thread(target=server.run, name="platform", daemon=True)
    thread.start()
    try:
        assert server.listening.wait(30), "the platform did not start"
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        server.socket.close()


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[tuple[Platform, str]]:
    """Serve a new platform and yield it with its URL."""
    platform = Platform(folder, **settings)
    with serving(platform) as server:
        yield platform, server.url
