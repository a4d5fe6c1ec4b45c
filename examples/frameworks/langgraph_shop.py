"""An agent of LangGraph that asks before it buys, without a model: plain functions are its nodes.

pip install langgraph
python examples/frameworks/langgraph_shop.py
curl localhost:8080/invocations -H 'X-PPIO-Session-Id: ada' --json '{"prompt": "tea"}'

The answer is a question, with an id. Answer it in the same session:

    curl localhost:8080/invocations -H 'X-PPIO-Session-Id: ada' \
        --json '{"resume": [{"interrupt_id": "the id", "payload": true}]}'
"""

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from ppio_agent_runtime import PPIOAgentRuntimeApp


def shop(state: MessagesState) -> dict[str, list[AIMessage]]:
    wanted = state["messages"][-1].content
    is_wanted = interrupt({"message": f"Buy {wanted}?"})
    return {"messages": [AIMessage(f"I bought {wanted}." if is_wanted else "I bought nothing.")]}


graph = StateGraph(MessagesState).add_node("shop", shop).add_edge(START, "shop").compile(checkpointer=InMemorySaver())
app = PPIOAgentRuntimeApp.from_agent(graph)


if __name__ == "__main__":
    app.run()
