"""Shows the typed events of a run: its text as it arrives, and other events as dimmed lines."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from .messages import ntr, tr
from .output import screen, width
from .rendering import StreamView, without_controls

if TYPE_CHECKING:
    from ppio_agent_models import AgentEvent, Interrupt

_NO_CONTENT: Final = {"type", "message_id", "thread_id", "run_id", "parent_message_id"}
_PLAIN_CHUNK: Final = "ppio.chunk"
"""The name of a custom event with a chunk of an agent without typed events."""


class EventView:
    """Shows one run.

    Attributes:
        events: All of them, each with the seconds since the request.
        interrupts: The interrupts of the run, once it has ended.
    """

    def __init__(self) -> None:
        self.events: list[tuple[float, AgentEvent]] = []
        self.interrupts: list[Interrupt] = []
        self._begun = time.monotonic()
        self._text = StreamView()
        self._calls: dict[str, tuple[str, list[str], float]] = {}
        """Tool calls by id: name, arguments so far, begin."""
        self._thinks_since: float | None = None

    def show(self, event: AgentEvent) -> None:
        """Show one event, with `--json` as one line."""
        now = time.monotonic() - self._begun
        self.events.append((now, event))
        if event.type == "RUN_FINISHED":
            outcome = getattr(event, "outcome", None)
            self.interrupts = list(getattr(outcome, "interrupts", None) or [])
        if screen.as_json:
            screen.line(event.model_dump(mode="json"))
        elif (shown := getattr(self, f"_show_{event.type.lower()}", None)) is not None:
            shown(event, now)

    def end(self) -> None:
        """Finish the last line."""
        if not screen.as_json:
            self._text.end()

    def summary(self) -> str:
        """Return how long it took and how many events there were."""
        took = time.monotonic() - self._begun
        first = self.events[0][0] if self.events else took
        return ntr(
            "first event {first:.2f} s · {took:.2f} s · {n} event",
            "first event {first:.2f} s · {took:.2f} s · {n} events",
            len(self.events),
            first=first,
            took=took,
        )

    def _show_text_message_content(self, event: Any, _: float) -> None:
        self._text.show("chunk", event.delta)

    def _show_text_message_end(self, _event: Any, _: float) -> None:
        if screen.is_terminal:
            self._text.end()

    def _show_custom(self, event: Any, _: float) -> None:
        if event.name == _PLAIN_CHUNK:
            self._text.show("chunk", event.value)
        else:
            self._dim(f"{event.name}: {one_line(event.value)}")

    def _show_reasoning_start(self, _event: Any, now: float) -> None:
        self._thinks_since = now

    def _show_reasoning_end(self, _event: Any, now: float) -> None:
        if self._thinks_since is not None:
            self._dim(tr("thought for {seconds:.1f} s", seconds=now - self._thinks_since))

    def _show_tool_call_start(self, event: Any, now: float) -> None:
        self._calls[event.tool_call_id] = event.tool_call_name, [], now

    def _show_tool_call_args(self, event: Any, _: float) -> None:
        if event.tool_call_id in self._calls:
            self._calls[event.tool_call_id][1].append(event.delta)

    def _show_tool_call_end(self, event: Any, _: float) -> None:
        if event.tool_call_id in self._calls:
            name, arguments, _begun = self._calls[event.tool_call_id]
            self._dim(f"{name} {''.join(arguments)}")

    def _show_tool_call_result(self, event: Any, now: float) -> None:
        name, _, begun = self._calls.pop(event.tool_call_id, ("", [], now))
        self._dim(f"{name} → {one_line(event.content)}", f"  {(now - begun) * 1000:.0f} ms")

    def _dim(self, text: str, end: str = "") -> None:
        if screen.is_terminal:
            self._text.end()
        text = without_controls(text).replace("\n", " ")
        screen.note(f"{cut(f'  {text}', len(end))}{end}", "dim")


def events_as_lines(events: list[tuple[float, AgentEvent]]) -> list[str]:
    """Return one line for each event: number, milliseconds since the request, type and content."""
    lines = []
    for number, (seconds, event) in enumerate(events, 1):
        fields = event.model_dump(mode="json", exclude=_NO_CONTENT, exclude_none=True)
        content = without_controls(one_line(fields)) if fields else ""
        lines.append(cut(f"{number:>4} {seconds * 1000:>7.0f} ms  {event.type}  {content}".rstrip()))
    return lines


def one_line(value: object) -> str:
    """Return a value as JSON, or a text unchanged, without line breaks."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split("\n"))


def cut(text: str, reserved: int = 0) -> str:
    """Return a line cut to the terminal's width less `reserved` columns; unchanged without a terminal."""
    room = shutil.get_terminal_size().columns - 1 - reserved
    if not screen.is_terminal or width(text) <= room:
        return text
    kept, used = "", 0
    for letter in text:
        used += width(letter)
        if kept and used > room - 1:
            break
        kept += letter
    return f"{kept}…"
