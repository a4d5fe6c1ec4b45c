"""One task: its runs, how it stands, and what it has made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from a2a.types.a2a_pb2 import Artifact, Message, Part, Role, Task, TaskState, TaskStatus

from ppio_agent_models import EventsEvictedError

from .a2a_messages import data_part, question
from .writing import CUSTOM, joined

if TYPE_CHECKING:
    from ..events.encoded import EncodedEvent
    from ..invocations.handle import InvocationHandle

STATES: Final = {
    "queued": TaskState.Value("TASK_STATE_SUBMITTED"),
    "running": TaskState.Value("TASK_STATE_WORKING"),
    "succeeded": TaskState.Value("TASK_STATE_COMPLETED"),
    "failed": TaskState.Value("TASK_STATE_FAILED"),
    "cancelled": TaskState.Value("TASK_STATE_CANCELED"),
}
WORKING: Final = STATES["running"]
UNFINISHED: Final = STATES["queued"], WORKING
INPUT_REQUIRED: Final = TaskState.Value("TASK_STATE_INPUT_REQUIRED")


@dataclass(slots=True)
class Known:
    """What is remembered of a task.

    Attributes:
        owner: Whose key it was begun with.
        history: The caller's messages.
        is_cancelled: It was cancelled while it waited for an answer.
    """

    owner: str | None
    history: list[Message] = field(default_factory=list)
    is_cancelled: bool = False

    @property
    def size(self) -> int:
        """How many bytes its messages take."""
        return sum(message.ByteSize() for message in self.history)


@dataclass(slots=True)
class Found:
    """A task.

    Attributes:
        runs: Its invocations, at least one, the newest last.
    """

    id: str
    known: Known
    runs: list[InvocationHandle]

    @property
    def context_id(self) -> str:
        """The session."""
        return self.runs[0].context.session_id or ""

    @property
    def status(self) -> TaskStatus:
        """Its current status."""
        run = self.runs[-1]
        return self.status_of(*((STATES["cancelled"], []) if self.known.is_cancelled else state_of(run)))

    def status_of(self, state: int, parts: list[Part]) -> TaskStatus:
        """Return the status that the newest run ended with: a state, and what the agent says about that."""
        run = self.runs[-1]
        status = TaskStatus(state=state, message=self.message(f"{run.id}-end", parts) if parts else None)
        status.timestamp.FromMilliseconds(int(run.updated_at * 1000))
        return status

    def message(self, message_id: str, parts: list[Part]) -> Message:
        """Return what the agent says beside its artifacts."""
        role = Role.Value("ROLE_AGENT")
        return Message(message_id=message_id, task_id=self.id, context_id=self.context_id, role=role, parts=parts)

    def head(self) -> Task:
        """Return the task without artifacts."""
        return Task(id=self.id, context_id=self.context_id, status=self.status, history=self.known.history)

    async def complete(self) -> Task:
        """Return the task with its artifacts, which exist once it is over or waits."""
        return await self._with_artifacts(self.head(), self.runs)

    async def begun(self) -> Task:
        """Return the task as it was when its newest run started."""
        head = self.head()
        if self.runs[-1].status != "queued":
            head.status.CopyFrom(TaskStatus(state=STATES["running"]))
        return await self._with_artifacts(head, self.runs[:-1])

    async def _with_artifacts(self, task: Task, runs: list[InvocationHandle]) -> Task:
        for run in runs:
            if run.status == "succeeded":
                task.artifacts.extend(await _artifacts(run))
        return task


def state_of(run: InvocationHandle) -> tuple[int, list[Part]]:
    """Return how a task stands by its newest run, and what the agent says about that."""
    if run.status == "succeeded" and run.interrupts:
        return INPUT_REQUIRED, question(run.interrupts)
    return STATES[run.status], [] if run.error is None else [Part(text=str(run.error.message))]


async def _artifacts(run: InvocationHandle) -> list[Artifact]:
    """Return what a run has made, nothing where its first events are no longer kept."""
    try:
        return artifacts_of(run.id, await run.events())
    except EventsEvictedError:
        return []


def artifacts_of(invocation_id: str, events: list[EncodedEvent]) -> list[Artifact]:
    """Return all that a run made, whole: its messages, its values and its result, under the ids that a stream has."""
    texts: dict[str, list[bytes]] = {}
    made: dict[str, Part] = {}
    values = 0
    for event in events:
        if event.text is None:
            continue
        if event.json.startswith(CUSTOM):
            values += 1
            made[value_id(invocation_id, values)] = data_part(json.loads(event.text))
            continue
        given = event.decode()["messageId"]
        texts.setdefault(given, []).append(event.text)
        made.setdefault(given, Part())
    for given, deltas in texts.items():
        made[given].text = joined(deltas)
    result = None if values or not events else events[-1].decode().get("result")
    if result is not None:
        made[value_id(invocation_id, 1)] = data_part(result)
    return [Artifact(artifact_id=given, parts=[part]) for given, part in made.items()]


def value_id(invocation_id: str, number: int) -> str:
    """Return the ID of the artifact that a value becomes."""
    return f"{invocation_id}-value-{number}"
