"""Tasks: each is one durable invocation, and one more for each answer to a question of the agent.

The ID of a task is that of its first invocation, the IDs of the others follow from it, and the context is the session.
Tasks are therefore kept as long as invocations, and in the same store. What invocations don't have is kept in this
process: the caller's messages, the owner of a task, and whether a waiting task was cancelled.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Final

from a2a.types.a2a_pb2 import Message, SendMessageRequest
from a2a.utils.errors import InvalidParamsError, TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from pydantic_core import to_json

from ppio_agent_models import IdempotencyKeyReusedError, PayloadValidationError

from .a2a_messages import metadata_of, payload_from, timeout_of
from .a2a_task import INPUT_REQUIRED, Found, Known

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..context import RequestContext
    from ..invocations.handle import InvocationHandle
    from ..plugin_interface import PluginInterface

_NO_ANSWER: Final = (
    "The task waits for no answer; send the message without taskId, with its contextId, to start another one."
)
_MAX_TASKS: Final = 1000
_MAX_HISTORY_BYTES: Final = 16 * 1024 * 1024
"""For how many tasks, with how many bytes, messages are kept; the oldest tasks are dropped first."""


class Tasks:
    """The tasks of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app
        self._known: dict[str, Known] = {}
        self._bytes = 0  # of all their messages

    async def begin(self, asked: SendMessageRequest, request: Request) -> Found:
        """Start a task, or continue one that waits for an answer. A repeated message finds the task of the first one.

        Raises:
            A2AError: The message is not valid for the task.
            PPIOAgentRuntimeError: The agent refused it.
        """
        message = asked.message
        if message.task_id:
            return await self._go_on(asked, request)
        key = request.headers.get("idempotency-key")
        context = self._app.context_for(request, session_id=message.context_id or None, protocol="a2a")
        if context.session_id is None:
            known_by = f"{context.key_id}\n{key}"  # the same for a repeated request
            context.session_id = str(uuid.uuid4() if key is None else uuid.uuid5(uuid.NAMESPACE_OID, known_by))
        run = await self._submit(asked, context, context.invocation_id, [], key)
        known = self._known.get(run.id) or Known(context.key_id)
        self._said(known, message, run.id, context.session_id)
        return Found(run.id, known, [run])

    async def find(self, task_id: str, request: Request) -> Found:
        """Return a task of the caller.

        Raises:
            TaskNotFoundError: There is no task with this ID, or it belongs to another caller.
        """
        caller = self._app.context_for(request).key_id
        known = self._known.get(task_id) or Known(caller)  # unknown after a restart
        runs: list[InvocationHandle] = []
        if known.owner == caller:
            while (run := await self._app.find(_run_id(task_id, len(runs)))) is not None:
                runs.append(run)
        if not runs:
            raise TaskNotFoundError(f"There is no task {task_id[:80]!r}, or it is no longer kept.")
        return Found(task_id, known, runs)

    async def has_gone_on(self, task: Found) -> bool:
        """Return whether a waiting task was answered, and add the run of the answer, or was cancelled."""
        task.known = self._known.get(task.id, task.known)
        run = await self._app.find(_run_id(task.id, len(task.runs)))
        if run is not None:
            task.runs.append(run)
        return run is not None or task.known.is_cancelled

    async def all_of(self, request: Request) -> list[Found]:
        """Return the caller's tasks that this process knows."""
        owner = self._app.context_for(request).key_id
        found = []
        for task_id in [task_id for task_id, known in self._known.items() if known.owner == owner]:
            try:
                found.append(await self.find(task_id, request))
            except TaskNotFoundError:
                self._forget(task_id)
        return found

    async def cancel(self, task: Found, request: Request) -> None:
        """Cancel a task, and wait until it is.

        Raises:
            TaskNotCancelableError: It is over.
        """
        run = task.runs[-1]
        if task.status.state == INPUT_REQUIRED:
            task.known.is_cancelled = True
            self._remember(task.id, task.known)
            return
        if run.status not in ("queued", "running"):
            raise TaskNotCancelableError(f"The task {task.id} is over.")
        run.cancel()
        await run.finished(request.receive)

    async def _go_on(self, asked: SendMessageRequest, request: Request) -> Found:
        message = asked.message
        task = await self.find(message.task_id, request)
        if message.context_id and message.context_id != task.context_id:
            raise InvalidParamsError(
                f"The task is of the context {task.context_id!r}, not {message.context_id[:80]!r}."
            )
        if task.known.history and _is_repeated(task.known.history[-1], message):
            return task  # a repeated message
        if task.status.state != INPUT_REQUIRED:
            raise UnsupportedOperationError(_NO_ANSWER)
        context = self._app.context_for(request, session_id=task.context_id, protocol="a2a")
        run_id = _run_id(task.id, len(task.runs))
        try:
            run = await self._submit(asked, context, run_id, task.runs[-1].interrupts, run_id)
        except IdempotencyKeyReusedError:  # another answer came meanwhile
            raise UnsupportedOperationError(_NO_ANSWER) from None
        self._said(task.known, message, task.id, task.context_id)
        return Found(task.id, task.known, [*task.runs, run])

    async def _submit(
        self,
        asked: SendMessageRequest,
        context: RequestContext,
        run_id: str,
        interrupts: list[dict[str, Any]],
        key: str | None,
    ) -> InvocationHandle:
        try:
            payload = payload_from(asked, interrupts)
        except PayloadValidationError as error:
            raise InvalidParamsError(error.message) from None
        context.invocation_id = run_id
        context.metadata = metadata_of(asked) | {"task_id": asked.message.task_id or run_id}
        if (timeout := timeout_of(asked)) is not None:
            context.timeout = min(context.timeout, timeout)
        if key is None:  # the payload has the message's ID, so a repeated message has the same key
            key = hashlib.sha256(to_json(payload)).hexdigest()
        return await self._app.submit(payload, context, key=key)

    def _said(self, known: Known, message: Message, task_id: str, context_id: str) -> None:
        self._remember(task_id, known)
        if any(_is_repeated(each, message) for each in known.history):
            return
        said = Message()
        said.CopyFrom(message)
        said.task_id, said.context_id = task_id, context_id
        known.history.append(said)
        self._bytes += said.ByteSize()
        while len(self._known) > _MAX_TASKS or (self._bytes > _MAX_HISTORY_BYTES and len(self._known) > 1):
            self._forget(next(iter(self._known)))

    def _remember(self, task_id: str, known: Known) -> None:
        if task_id not in self._known:
            self._known[task_id] = known
            self._bytes += known.size

    def _forget(self, task_id: str) -> None:
        known = self._known.pop(task_id, None)
        if known is not None:
            self._bytes -= known.size


def _is_repeated(earlier: Message, message: Message) -> bool:
    """Return whether a message was sent before: same ID and content."""
    return bool(earlier.message_id == message.message_id and earlier.parts == message.parts)


def _run_id(task_id: str, number: int) -> str:
    """Return the ID of a task's invocation, by its number."""
    return hashlib.sha256(f"{task_id}/{number}".encode()).hexdigest()[:32] if number else task_id
