"""A load balancer for TCP: each connection goes to the next replica that takes it. It can cut connections on demand."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random

_PART_BYTES = 65536


class Balancer:
    """Where it listens, and where its connections go.

    Attributes:
        url: Its base URL.
        cuts: How many connections were cut.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._next = 0
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.url = ""
        self.cuts = 0

    def cut(self, dice: Random) -> None:
        """Reset the connection of one caller, if there is one."""

        def reset() -> None:
            if self._connections:
                writer = dice.choice(list(self._connections.values()))
                with suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                self.cuts += 1

        self._loop.call_soon_threadsafe(reset)

    def serve(self, started: threading.Event) -> None:
        """Serve until `stop`, in the thread that calls it."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(started))

    def stop(self) -> None:
        """End it, from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self, started: threading.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await self._stop.wait()
        server.close()
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(reader, writer))
        self._connections[task] = writer

        def over(_: asyncio.Task[None]) -> None:
            del self._connections[task]
            writer.close()

        task.add_done_callback(over)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replica = await self._replica()
        if replica is None:
            return
        from_replica, to_replica = replica
        pumps = [
            asyncio.ensure_future(_pump(reader, to_replica)),
            asyncio.ensure_future(_pump(from_replica, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_replica.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _replica(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            port = self._ports[self._next % len(self._ports)]
            self._next += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PART_BYTES):
            writer.write(data)
            await writer.drain()


@contextmanager
def balancing(ports: Sequence[int]) -> Iterator[Balancer]:
    """Yield a balancer in front of these ports of this machine, in a thread of its own."""
    balancer, started = Balancer(ports), threading.Event()
    thread = threading.Thread(target=balancer.serve, args=(started,), name="balancer")
    thread.start()
    assert started.wait(60)
    try:
        yield balancer
    finally:
        balancer.stop()
        thread.join()
