"""LangChain runnables: chains and models. They have no memory, so each run has the messages that the caller sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ppio_agent_models import RunFinishedEvent, TextMessageContentEvent

from .langchain_messages import MessageReader, as_langchain

if TYPE_CHECKING:
    from .turn import Turn


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run a runnable; chunks that are neither text nor messages are added up to the result."""
    turn.answers([])  # raises if the caller answers: runnables ask nothing
    takes_list = any(cls.__name__ == "BaseLanguageModel" for cls in type(turn.agent).__mro__)
    asked = await turn.input(lambda: _messages(turn) if takes_list else {"messages": _messages(turn)})
    reader, result = MessageReader(), None
    async with aclosing(turn.agent.astream(asked, {"configurable": {"session_id": turn.session_id}})) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, str):
                if chunk:
                    yield TextMessageContentEvent(delta=chunk)
            elif hasattr(chunk, "content_blocks"):
                for event in reader.events(chunk):
                    yield event
            else:
                result = _sum(result, chunk)
    if result is not None:
        yield RunFinishedEvent(result=result)


def _messages(turn: Turn) -> list[Any]:
    return as_langchain(turn.messages(remembers=False))


def _sum(result: Any, chunk: Any) -> Any:
    """Add a chunk to the result, as LangChain does; if they can't be added, the chunk is the new result."""
    try:
        return chunk if result is None else result + chunk
    except TypeError:
        return chunk
