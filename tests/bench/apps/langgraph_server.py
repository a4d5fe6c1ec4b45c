"""LangGraph server on its in-memory runtime, as `langgraph dev` starts it, with a graph of one node."""

from typing import Any, TypedDict

from handlers import PLAIN, PORT, STREAMS, handler
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """The payload, and the answer to it."""

    prompt: str
    session: str
    user: str
    meta: dict[str, Any]
    big: bool
    messages: list[dict[str, Any]]
    count: int
    pause: float
    result: Any


async def answer(state: State):
    """Call the handler."""
    if not STREAMS:
        return {"result": await handler(state)}
    write = get_stream_writer()
    async for value in handler(state):
        write(value)
    return {"result": None}


graph = StateGraph(State).add_node(answer).add_edge(START, "answer").add_edge("answer", END).compile()

if PLAIN:
    raise SystemExit("plain functions are not compared here: in a graph they run where the graph says")

if __name__ == "__main__":
    from langgraph_api.cli import run_server

    run_server("127.0.0.1", PORT, graphs={"agent": f"{__file__}:graph"}, disable_persistence=True)
