"""The server's side of the ASGI lifespan protocol: one startup, one shutdown, and the app's own task around both."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._asgi import ASGIApp, Message

logger = logging.getLogger("ppio_agent_runtime")


class Life:
    """Leads one app through its startup and its shutdown.

    Attributes:
        state: What the app's startup gives to all of its requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._has_said_why = False

    async def startup(self) -> bool:
        """Begin, and say whether the app is ready for requests. Why it is not, is in the log."""
        self._task = asyncio.get_running_loop().create_task(self._live())
        return await self._pass("startup")

    async def shutdown(self) -> None:
        """End what the startup began."""
        if self._task is not None and not self._task.done():
            await self._pass("shutdown")

    async def _pass(self, phase: str) -> bool:
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        return await self._answer

    async def _live(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._events.get, self._send)
        except (Exception, SystemExit, KeyboardInterrupt):  # sys.exit() in a layer must not be taken for readiness
            if not self._has_said_why:
                logger.exception("The lifespan of the app failed.")
            self._settle(False)
        else:
            self._settle(True)  # a layer may know nothing of lifespans

    async def _send(self, message: Message) -> None:
        _, phase, outcome = message["type"].split(".")
        if outcome == "failed":
            self._has_said_why = True
            logger.error("The %s of the app failed: %s", phase, message.get("message") or "it does not say why.")
        self._settle(outcome == "complete")

    def _settle(self, succeeded: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(succeeded)
