"""A model of LangChain that says what a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from tests.frameworks.script import Call


class FakeModel(BaseChatModel):
    """Streams the words and calls of `script`, a `Script`."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Any, **options: Any) -> FakeModel:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *_: Any, **options: Any) -> AsyncIterator[Any]:
        heard = [str(message.text) for message in messages if isinstance(message, HumanMessage)]
        last = messages[-1]
        result = str(last.content) if isinstance(last, ToolMessage) else None
        async for said in self.script.says(heard, result):
            if isinstance(said, Call):
                for piece in ("", *said.pieces):
                    call = {"index": 0, "args": piece, "id": None, "name": None, "type": "tool_call_chunk"}
                    call |= {} if piece else {"id": said.id, "name": said.name}
                    yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
            else:
                yield ChatGenerationChunk(message=AIMessageChunk(content=said))
