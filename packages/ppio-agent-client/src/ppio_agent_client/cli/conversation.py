"""The conversation of `chat`: messages and answers in one session, and commands that begin with a slash."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ppio_agent_models import PPIOAgentRuntimeError

from .asking import Target, explained, session_of
from .errors import CommandError, describe
from .event_view import EventView, events_as_lines
from .interrupts import answers_to
from .line_reader import LineReader
from .messages import later, tr
from .output import screen

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient, SyncSandboxSession

_HELP: Final = later(
    "/new          start a new session\n"
    "/events       show the events of the last answer\n"
    "/save [FILE]  save the conversation to a file, as JSON Lines\n"
    "/help         show this\n"
    "/quit         quit, as Ctrl-D does\n"
    "To send a message that begins with a slash, type two."
)
_PROMPT: Final = "> "


class Conversation:
    """A conversation with one agent. Leaving the `with` block closes its sandbox, unless its session was named.

    Args:
        client: Creates sessions.
        target: The agent.
    """

    def __init__(self, client: SyncAgentRuntimeClient, target: Target) -> None:
        self._client = client
        self._target = target
        self._lines = LineReader()
        self._stack = ExitStack()
        self._said: list[dict[str, Any]] = []
        self._view: EventView | None = None
        self._was_interrupted = False

    def __enter__(self) -> Self:
        """Open the session."""
        self._session = self._open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close it."""
        self._stack.close()

    def hold(self) -> None:
        """Read messages, send them and show the answers until the end of the input.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed twice, or the input is not a terminal.
            PPIOAgentRuntimeError: The agent failed, and the input is not a terminal.
        """
        if self._lines.is_terminal:
            screen.note(tr("/help lists the commands. Ctrl-C cancels an answer, Ctrl-D quits."), "dim")
        while (line := self._next_line()) is not None:
            if line.startswith("/") and not line.startswith("//"):
                if self._obey(line) is False:
                    return
            elif line.strip():
                self._ask_in_order(line.removeprefix("/") if line.startswith("//") else line)

    def _open(self) -> SyncSandboxSession:
        target = self._target
        if target.url is not None and target.session_id is None:
            target = replace(target, session_id=uuid.uuid4().hex)
        return self._stack.enter_context(session_of(self._client, target))

    def _next_line(self) -> str | None:
        while True:
            try:
                line = self._lines.read(_PROMPT)
            except KeyboardInterrupt:
                if self._was_interrupted or not self._lines.is_terminal:
                    raise
                self._was_interrupted = True
                screen.note(tr("Press Ctrl-C again to end the conversation."), "dim")
                continue
            self._was_interrupted = False
            return line

    def _ask_in_order(self, text: str) -> None:
        """Send a message; on a terminal, show an error and continue."""
        try:
            with explained(self._session, self._target):
                self._ask({"prompt": text}, text)
        except KeyboardInterrupt:
            if not self._lines.is_terminal:
                raise
            self._was_interrupted = True
            screen.note("\n" + tr("Cancelled. Press Ctrl-C again to end the conversation."), "yellow")
        except (PPIOAgentRuntimeError, CommandError) as error:
            if not self._lines.is_terminal:
                raise
            describe(error)

    def _ask(self, request: dict[str, Any], shown: object) -> None:
        while True:
            self._note(role="user", content=shown)
            view = self._view = EventView()
            with self._session.events(
                request, headers=self._target.headers, user_id=self._target.user_id, on_disconnect="cancel"
            ) as events:
                try:
                    for event in events:
                        view.show(event)
                        self._note(event=event.model_dump(mode="json"))
                finally:
                    view.end()
            if self._lines.is_terminal:
                screen.note(view.summary(), "dim")
            if not view.interrupts:
                return
            shown = answers_to(view.interrupts, self._answer)
            request = {"resume": shown}

    def _answer(self, question: str) -> str | None:
        screen.note(question, "yellow")
        return self._lines.read("? ")

    def _obey(self, line: str) -> bool:
        """Run a slash command; return False if the conversation ends."""
        command, _, argument = line.partition(" ")
        if command == "/quit":
            return False
        if command == "/new":
            self._begin_anew()
        elif command == "/events":
            shown = events_as_lines(self._view.events) if self._view else [tr("There is no answer yet.")]
            screen.note("\n".join(shown))
        elif command == "/save":
            self._save(argument.strip())
        elif command == "/help":
            screen.note(tr(_HELP))
        else:
            screen.note(tr("Unknown command {command}; /help lists the commands.", command=command), "yellow")
        return True

    def _begin_anew(self) -> None:
        template_id = self._target.template_id or self._session.template_id
        self._stack.close()
        self._target = replace(self._target, session_id=None, template_id=template_id)
        self._said, self._view = [], None
        self._session = self._open()
        screen.note(tr("New session: {session_id}", session_id=self._session.session_id), "dim")

    def _save(self, name: str) -> None:
        path = Path(name or f"chat-{self._session.session_id}.jsonl").expanduser()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(one, ensure_ascii=False)}\n" for one in self._said)
        except OSError as error:
            screen.note(tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror or error), "yellow")
        else:
            screen.note(tr("Saved to {path}", path=path))

    def _note(self, **what: Any) -> None:
        self._said.append({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **what})
