"""Agents of frameworks as handlers: `PPIOAgentRuntimeApp.from_agent(agent)`, `app.entrypoint(agent)`, `run_agent`.

The program that creates the agent imports its framework; nothing here imports one before it runs an agent.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from ppio_agent_models import AgentInput, ConfigurationError

from ..context import RequestContext, current_context
from ..event_loop import run_in_thread
from ..handler import Handler
from .kinds import Run, find_kind, names_of_kinds
from .sessions import Session, SessionStore
from .turn import MakeInput, MakeSession, Turn, agent_input

_stores: dict[int, SessionStore] = {}
"""The sessions of agents that `run_agent` was called with, by `id(agent)`, as long as the agent exists."""


def kind_of(agent: object) -> str | None:
    """Return the name of the framework that an object is an agent of, such as `LangGraph`; None if there is none."""
    kind = find_kind(type(agent))
    return None if kind is None else kind.name


async def run_agent(
    agent: Any,
    request: AgentInput | Mapping[str, Any] | str,
    context: RequestContext | None = None,
    *,
    session: MakeSession | None = None,
    input: MakeInput | None = None,  # noqa: A002  # as frameworks call it
) -> AsyncGenerator[Any, None]:
    """Run an agent of a framework once, and yield its output as `AgentEvent`s; for code around an agent.

        @app.entrypoint
        async def entrypoint(request: AgentInput, context: RequestContext):
            async for event in run_agent(graph, request, context):
                yield event

    Its sessions are kept in memory as long as the object `agent` exists. Closing the generator closes that of the
    framework; wrap it in `contextlib.aclosing` if you may leave the loop over it early.

    Args:
        agent: The framework's object. One that is itself the conversation (Strands) is used as it is.
        request: The input; a string is a prompt.
        context: Names the session; unless given, that of the invocation that calls, if there is one.
        session: As for `from_agent`.
        input: As for `from_agent`.

    Raises:
        ConfigurationError: The object is of no known framework.
        AgentError: The request doesn't fit, is empty, or answers a question that wasn't asked (422).
        Exception: What the framework raised.
    """
    if find_kind(type(agent)) is None:
        raise ConfigurationError(_unknown(agent))
    store = _stores.get(id(agent))
    if store is None:
        store = _stores[id(agent)] = SessionStore()
        weakref.finalize(agent, _stores.pop, id(agent), None)
    run = AgentFunction(agent, session, input, store)
    async with aclosing(run(agent_input(request), context or current_context.get() or RequestContext())) as events:
        async for event in events:
            yield event


def handler_of(agent: Any, *, session: MakeSession | None = None, input: MakeInput | None = None) -> Handler:  # noqa: A002
    """Return the handler of an agent, or of a factory that makes one.

    Raises:
        ConfigurationError: It is neither, or an object that holds one conversation where every session needs its own.
    """
    kind = find_kind(type(agent))
    make: Callable[..., Any] | None = None
    if kind is None:
        make = _factory(agent)
    elif kind.is_conversation:
        raise ConfigurationError(
            f"An agent of {kind.name} holds one conversation, so sessions can't share it. Pass a function that makes "
            "one; it is called for each session: PPIOAgentRuntimeApp.from_agent(make_agent)."
        )
    handler = Handler(AgentFunction(None if make else agent, session, input, SessionStore(), make), yields_events=True)
    named = agent if inspect.isroutine(agent) or isinstance(agent, type) else type(agent)
    handler.name = f"{named.__module__}.{named.__qualname__}"
    return handler


def handler_of_object(value: Any) -> Handler:
    """Return the handler of an object that is not a function."""
    return Handler(value) if find_kind(type(value)) is None and callable(value) else handler_of(value)


class AgentFunction:
    """An agent as the function of an entrypoint.

    Args:
        agent: The agent, or None if a factory makes it.
        session: The user's function from a session ID to the framework's session object.
        input: The user's function from an `AgentInput` to the framework's input.
        store: The sessions.
        make: The factory.
    """

    def __init__(
        self,
        agent: Any,
        session: MakeSession | None,
        input: MakeInput | None,  # noqa: A002
        store: SessionStore,
        make: Callable[..., Any] | None = None,
    ) -> None:
        self._session = session
        self._input = input
        self._store = store
        self._make = make
        self._takes_id = make is not None and bool(_required(make))
        self._made = SessionStore()  # its only session guards the creation of the shared agent
        self._shared = None if agent is None else _Made(agent, session, input)

    async def __call__(self, request: AgentInput, context: RequestContext) -> AsyncGenerator[Any, None]:
        """Run the agent once."""
        request = agent_input(request)
        async with self._store.turn(context.session_id) as session:
            made: _Made = self._shared or session.made or await self._made_for(session, context)
            run = await made.runner()
            turn = Turn(made.agent, request, context, session, self._session, self._input)
            async with aclosing(run(turn)) as events:
                async for event in events:
                    yield event

    async def _made_for(self, session: Session, context: RequestContext) -> _Made:
        """Make the agent: for all sessions, or for this one."""
        if self._takes_id:
            session.made = made = await self._call(context.session_id or context.invocation_id)
            return made
        async with self._made.turn(""):
            if self._shared is not None:
                return self._shared
            made = await self._call()
            if made.is_conversation:
                session.made = made
            else:
                self._shared = made
            return made

    async def _call(self, *arguments: str) -> _Made:
        assert self._make is not None
        if inspect.iscoroutinefunction(self._make):
            agent = await self._make(*arguments)
        else:  # in a thread, because it may take seconds, mostly for imports
            agent = await run_in_thread(self._make, *arguments, name="agent-factory")
        return _Made(agent, self._session, self._input)


class _Made:
    """An agent, and what runs it."""

    def __init__(self, agent: Any, session: MakeSession | None, input: MakeInput | None) -> None:  # noqa: A002
        kind = find_kind(type(agent))
        if kind is None:
            raise ConfigurationError(_unknown(agent))
        self.agent = agent
        self.is_conversation = kind.is_conversation
        self._kind = kind
        self._arguments = agent, session, input
        self._runner: Run | None = None

    async def runner(self) -> Run:
        """Return the function that runs the agent. Imports run in a thread, because they may take seconds."""
        if self._runner is None and self._kind.is_loaded:
            self._runner = self._kind.runner(*self._arguments)
        elif self._runner is None:
            self._runner = await run_in_thread(self._kind.runner, *self._arguments, name="agent-imports")
        return self._runner


def _factory(value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise ConfigurationError(_unknown(value))
    if [parameter for parameter in _required(value) if parameter != "session_id"]:
        raise ConfigurationError(
            f"{value!r} is neither an agent nor a function that makes one (without parameters, or with session_id "
            "alone). Register a function that handles requests with @app.entrypoint."
        )
    make: Callable[..., Any] = value
    return make


def _required(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The parameters of {function!r} cannot be read: {error}.") from error
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in kinds]


def _unknown(value: object) -> str:
    cls = type(value)
    hint = " Compile the graph first: graph.compile()." if cls.__name__ == "StateGraph" else ""
    return (
        f"An object of {cls.__module__}.{cls.__qualname__} is neither a function nor an agent of a known framework: "
        f"{names_of_kinds()}.{hint}"
    )
