"""What every fake model says, whatever framework asks it: it is told what it heard, and streams words and calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.gates import Count


@dataclass
class Call:
    """A call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]

    @property
    def pieces(self) -> list[str]:
        """The arguments as JSON, as models stream them."""
        text = json.dumps(self.arguments)
        return [text[:5], text[5:]]


class Script:
    """One fake model.

    Attributes:
        closed: How often it was stopped while it waited.
        bought: What the tool `buy` was called with.
    """

    def __init__(self) -> None:
        self.closed = Count()
        self.bought: list[str] = []
        self._calls = 0

    async def says(self, heard: Sequence[str], result: str | None) -> AsyncIterator[str | Call]:
        """Yield what the model says.

        Args:
            heard: All that the user has said in the conversation.
            result: What a tool has returned since.
        """
        prompt = heard[-1]
        self._calls += 1
        if result is not None:
            for word in ("It is ", result, "."):
                yield word
        elif prompt == "time?":
            yield "Let me "
            yield "see: "
            yield Call(f"call-{self._calls}", "clock", {"zone": "utc"})
        elif prompt.startswith("buy "):
            yield Call(f"call-{self._calls}", "buy", {"what": prompt.removeprefix("buy ")})
        elif prompt == "fail":
            yield "I "
            raise RuntimeError("the model is gone, key sk-123")
        elif prompt == "wait":
            try:
                yield "Wait. "  # where it may be stopped already
                await asyncio.Event().wait()
            finally:
                self.closed.add()
        else:
            for word in ("I ", "heard ", "/".join(heard)):
                yield word
                await asyncio.sleep(0)  # others get their turn, whose words must not come here

    def clock(self, zone: str) -> str:
        """Return the time."""
        return f"12:00 {zone}"

    def buy(self, what: str) -> str:
        """Buy something."""
        self.bought.append(what)
        return f"{what} bought"
