"""The conversation that everybody has with the agent, as lines of who and what, and how AG-UI's events become such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Line = tuple[str, str]

CONVERSATION: list[Line] = [
    ("user", "time?"),
    ("agent", "Let me see: "),
    ("calls", "clock"),
    ("result", "12:00 utc"),
    ("agent", "It is 12:00 utc."),
    ("user", "buy tea"),
    ("calls", "buy"),
    ("asks", "buy"),
    ("user", "approved"),
    ("result", "tea bought"),
    ("agent", "It is tea bought."),
]


class Transcript:
    """What one client was told.

    Args:
        client: Its name.
    """

    def __init__(self, client: str) -> None:
        self._client = client
        self.lines: list[Line] = []

    def add(self, who: str, what: str) -> None:
        """Add a line; text of the agent goes on with its last line."""
        if who == "agent" and not what:
            return
        if who == "agent" and self.lines and self.lines[-1][0] == "agent":
            what = self.lines.pop()[1] + what
        self.lines.append((who, what))

    def add_result(self, result: str | None) -> None:
        """Add what a tool returned, if it has."""
        if result is not None:
            self.add("result", result)

    def add_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add what AG-UI's events say."""
        for event in events:
            kind = event["type"]
            if kind == "TEXT_MESSAGE_CONTENT":
                self.add("agent", event["delta"])
            elif kind == "TOOL_CALL_START":
                self.add("calls", event["toolCallName"])
            elif kind == "USER":
                self.add("user", event["content"])
            elif kind == "TOOL_CALL_RESULT":
                self.add("result", event["content"])
            for interrupt in (event.get("outcome") or {}).get("interrupts") or []:
                self.add("asks", tool_asked_for(interrupt["message"]))

    def show(self) -> None:
        """Print it: `pytest -s` shows it."""
        print(f"\n{self._client}")
        for who, what in self.lines:
            print(f"  {who:<7} {what}")


def tool_asked_for(message: str) -> str:
    """Return the tool that LangChain's question names."""
    _, mark, rest = message.partition("Tool: ")
    return rest.split()[0] if mark else message
