"""Detects an object's framework by the names of its classes, without importing any framework."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from .turn import MakeInput, MakeSession, Turn

GROUP: Final = "ppio_agent_runtime.frameworks"
"""The entry-point group for further frameworks. An entry point names an object with

- `claims(cls) -> bool`, which returns whether a class is an agent of its framework, and
- `handler(agent, *, session, input)`, which gets the arguments of `from_agent` (or None), and returns a function from
  an `AgentInput` and a `RequestContext` to an async generator of events. It is called once for each agent, before its
  first run; `run_agent` stores no agents, so it calls it for each run.
"""

Run = Callable[["Turn"], AsyncGenerator[Any, None]]


class Kind(NamedTuple):
    """A framework.

    Attributes:
        name: Its name, for messages.
        module: Our module for it, with a function `run(turn)`.
        package: The package of its agent classes.
        class_name: The base class of all its agents.
        is_conversation: An agent holds one conversation, so each session needs its own.
        imports: The framework's modules that ours imports, which may take seconds.
    """

    name: str
    module: str
    package: str
    class_name: str
    is_conversation: bool = False
    imports: tuple[str, ...] = ()

    def claims(self, cls: type) -> bool:
        """Return whether a class is an agent of this framework."""
        return any(
            each.__name__ == self.class_name and f"{each.__module__}.".startswith(f"{self.package}.")
            for each in cls.__mro__
        )

    @property
    def is_loaded(self) -> bool:
        """Whether `runner` has nothing left to import."""
        return all(name in sys.modules for name in (f"{__package__}.{self.module}", *self.imports))

    def runner(self, _agent: Any, _session: MakeSession | None, _input: MakeInput | None) -> Run:
        """Return the function that runs an agent, after importing its modules."""
        for name in self.imports:
            import_module(name)
        run: Run = import_module(f".{self.module}", __package__).run
        return run


class OtherKind:
    """A framework whose adapter is in another distribution.

    Args:
        name: Name of the entry point.
        adapter: The object that the entry point refers to.
    """

    is_conversation = False
    is_loaded = True

    def __init__(self, name: str, adapter: Any) -> None:
        self.name = name
        self._adapter = adapter

    def claims(self, cls: type) -> bool:
        """Return whether a class is an agent of this framework."""
        return bool(self._adapter.claims(cls))

    def runner(self, agent: Any, session: MakeSession | None, input: MakeInput | None) -> Run:  # noqa: A002  # its name
        """Return the function that runs an agent."""
        handler = self._adapter.handler(agent, session=session, input=input)
        return lambda turn: handler(turn.request, turn.context)


# LangGraph's graphs are also LangChain runnables, so LangGraph comes first.
KINDS: Final = (
    Kind("LangGraph", "langgraph", "langgraph", "Pregel", imports=("langchain_core.messages", "langgraph.types")),
    Kind("LangChain", "langchain", "langchain_core", "Runnable", imports=("langchain_core.messages",)),
    Kind("OpenAI Agents", "openai_agents", "agents", "AgentBase", imports=("agents",)),
    Kind("Pydantic AI", "pydantic_ai", "pydantic_ai", "AbstractAgent", imports=("pydantic_ai.messages",)),
    Kind("Strands", "strands", "strands", "Agent", is_conversation=True),
    Kind("Google ADK", "google_adk", "google.adk", "BaseAgent", imports=("google.adk.runners", "google.adk.sessions")),
)


def find_kind(cls: type) -> Kind | OtherKind | None:
    """Return the framework of an agent class, or None if it is unknown.

    Raises:
        ConfigurationError: The adapter of another distribution cannot be loaded.
    """
    return next((kind for kind in KINDS if kind.claims(cls)), None) or next(
        (kind for kind in _others() if kind.claims(cls)), None
    )


def names_of_kinds() -> str:
    """Return the names of all known frameworks, for messages."""
    return ", ".join([*(kind.name for kind in KINDS), *(kind.name for kind in _others())])


def _others() -> list[OtherKind]:
    from importlib.metadata import entry_points  # slow, and not needed for the frameworks above

    kinds = []
    for entry in entry_points(group=GROUP):
        try:
            adapter = entry.load()
        except Exception as error:
            raise ConfigurationError(
                f"The framework {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        kinds.append(OtherKind(entry.name, adapter() if isinstance(adapter, type) else adapter))
    return kinds
