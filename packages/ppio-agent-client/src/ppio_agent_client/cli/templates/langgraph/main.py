"""A LangGraph agent that streams and remembers its conversation. Run it: ppio-agent dev"""

import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()


@cache
def graph() -> Any:
    """Built when it is first needed, so that the agent is up at once."""
    if not os.environ.get("OPENAI_API_KEY"):
        raise AgentError("OPENAI_API_KEY is not set; README.md says how an agent gets it.")
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL") or "gpt-5-mini")

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    return builder.compile(checkpointer=InMemorySaver())


@app.entrypoint
async def converse(request: dict[str, Any]) -> AsyncIterator[str]:
    said = {"messages": [{"role": "user", "content": request.get("prompt", "")}]}
    # One session is one sandbox is one process, so one thread is enough for its conversation.
    thread = {"configurable": {"thread_id": "conversation"}}
    async for message, _ in graph().astream(said, thread, stream_mode="messages"):
        if isinstance(message, AIMessageChunk) and message.text:
            yield str(message.text)


if __name__ == "__main__":
    app.run()
