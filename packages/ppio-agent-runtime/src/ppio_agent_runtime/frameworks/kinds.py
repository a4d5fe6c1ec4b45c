"""Which framework an object belongs to, by the names of its classes, so that no framework is imported to find out."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from .turn import MakeInput, MakeSession, Turn

GROUP: Final = "ppio_agent_runtime.frameworks"
"""The entry-point group for others. An entry point names an object with

- `claims(cls) -> bool`, which says whether agents of a class are its own, and
- `handler(agent, *, session, input)`, which is called with what the user gave to `from_agent` (or None), and returns a
  function of an `AgentInput` and a `RequestContext` to an async generator of events. It is called once for an agent,
  before its first run; `run_agent` keeps no agent alive, so it calls it for each run.
"""

Run = Callable[["Turn"], AsyncGenerator[Any, None]]


class Kind(NamedTuple):
    """A framework.

    Attributes:
        name: For messages.
        module: Ours, with a function `run(turn)`.
        package: What the module of the class begins with.
        class_name: A class that all of its agents have among theirs.
        is_conversation: An object of it holds one conversation, so that each session needs its own.
        imports: What ours imports of it, which may take seconds.
    """

    name: str
    module: str
    package: str
    class_name: str
    is_conversation: bool = False
    imports: tuple[str, ...] = ()

    def claims(self, cls: type) -> bool:
        """Say whether agents of a class are of this framework."""
        return any(
            each.__name__ == self.class_name and f"{each.__module__}.".startswith(f"{self.package}.")
            for each in cls.__mro__
        )

    @property
    def is_loaded(self) -> bool:
        """Whether `runner` has nothing left to import."""
        return all(name in sys.modules for name in (f"{__package__}.{self.module}", *self.imports))

    def runner(self, _agent: Any, _session: MakeSession | None, _input: MakeInput | None) -> Run:
        """Return what runs an agent; it imports what is not loaded."""
        for name in self.imports:
            import_module(name)
        run: Run = import_module(f".{self.module}", __package__).run
        return run


class OtherKind:
    """A framework that another distribution knows.

    Args:
        name: Of the entry point.
        adapter: What it names.
    """

    is_conversation = False
    is_loaded = True

    def __init__(self, name: str, adapter: Any) -> None:
        self.name = name
        self._adapter = adapter

    def claims(self, cls: type) -> bool:
        """Say whether agents of a class are of this framework."""
        return bool(self._adapter.claims(cls))

    def runner(self, agent: Any, session: MakeSession | None, input: MakeInput | None) -> Run:  # noqa: A002  # its name
        """Return what runs an agent."""
        handler = self._adapter.handler(agent, session=session, input=input)
        return lambda turn: handler(turn.request, turn.context)


# Graphs of LangGraph are runnables of LangChain too, so they come first.
KINDS: Final = (
    Kind("LangGraph", "langgraph", "langgraph", "Pregel", imports=("langchain_core.messages", "langgraph.types")),
    Kind("LangChain", "langchain", "langchain_core", "Runnable", imports=("langchain_core.messages",)),
    Kind("OpenAI Agents", "openai_agents", "agents", "AgentBase", imports=("agents",)),
    Kind("Pydantic AI", "pydantic_ai", "pydantic_ai", "AbstractAgent", imports=("pydantic_ai.messages",)),
    Kind("Strands", "strands", "strands", "Agent", is_conversation=True),
    Kind("Google ADK", "google_adk", "google.adk", "BaseAgent", imports=("google.adk.runners", "google.adk.sessions")),
)


def find_kind(cls: type) -> Kind | OtherKind | None:
    """Return the framework that objects of a class are of; None where none is known.

    Raises:
        ConfigurationError: One that another distribution brings cannot be loaded.
    """
    return next((kind for kind in KINDS if kind.claims(cls)), None) or next(
        (kind for kind in _others() if kind.claims(cls)), None
    )


def names_of_kinds() -> str:
    """Return the names of all frameworks that are known, for messages."""
    return ", ".join([*(kind.name for kind in KINDS), *(kind.name for kind in _others())])


def _others() -> list[OtherKind]:
    from importlib.metadata import entry_points  # slow, and not asked for agents of the frameworks above

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
