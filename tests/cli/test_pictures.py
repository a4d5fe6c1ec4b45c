"""The pictures in README and docs are what `dev` and `chat` show; `RECORD=1` draws them anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import CommandLine, Terminal
from tests.support.pictures import check_picture
from tests.support.ports import free_port

from .agents import write_agent

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PROGRAM = """
from ppio_agent_models import (
    AgentInput, Interrupt, RunFinishedEvent, RunOutcome, TextMessageContentEvent, ToolCallArgsEvent, ToolCallEndEvent,
    ToolCallResultEvent, ToolCallStartEvent,
)
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

def weather_in(city):
    return {"Oslo": -3, "Rome": 21}[city]

@app.entrypoint
async def answer(request: AgentInput):
    if request.resume:
        yield TextMessageContentEvent(delta="Booked: Oslo to Rome, tomorrow at 9.")
    elif "fly" in request.prompt:
        interrupt = Interrupt(id="flight", message="Book the flight for 120 EUR?")
        yield TextMessageContentEvent(delta="There is one tomorrow at 9.")
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[interrupt]))
    else:
        city = request.prompt.split()[-1].strip("?")
        yield ToolCallStartEvent(tool_call_id="1", tool_call_name="weather_in")
        yield ToolCallArgsEvent(tool_call_id="1", delta=f'{{"city": "{city}"}}')
        yield ToolCallEndEvent(tool_call_id="1")
        found = weather_in(city)
        yield ToolCallResultEvent(tool_call_id="1", content=f'{{"celsius": {found}}}')
        for word in f"It is {found} degrees in {city}.".split(" "):
            yield TextMessageContentEvent(delta=f"{word} ")
"""


@contextmanager
def developing(cli: CommandLine) -> Iterator[tuple[Terminal, str]]:
    """Give the terminal of `dev`, and where its agent listens."""
    folder = write_agent(cli.folder / "travel", "travel", PROGRAM)
    port = free_port()
    with cli.terminal("dev", str(folder), "--port", str(port)) as terminal:
        terminal.wait_for("curl -N.*\n")
        yield terminal, f"http://127.0.0.1:{port}"


def seen(text: str) -> str:
    """Return what was written, with the usual port; the border of the box stays where it is."""
    text = re.sub(r"127\.0\.0\.1:\d+/? +(?=\x1b\[32m│)", lambda found: "127.0.0.1:8080".ljust(len(found[0])), text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", text)


@pytest.mark.slow
def test_dev(cli: CommandLine) -> None:
    with developing(cli) as (terminal, url):
        ask(url, "What is the weather in Oslo?")
        terminal.wait_for("chunks\r\n")
        ask(url, "And in Atlantis?")
        terminal.wait_for("stream 200.*failed.*\n|json 500.*\n")
        shown = terminal.raw
    check_picture(PICTURES / "dev.svg", seen(shown), "ppio-agent dev", words={str(cli.folder): "/home/ada"})


def ask(url: str, prompt: str) -> None:
    headers = {"X-PPIO-Session-Id": "oslo-trip", "PPIO-Agent-Protocol": "1", "Accept": "text/event-stream"}
    httpx.post(f"{url}/invocations", json={"prompt": prompt}, headers=headers)


@pytest.mark.slow
def test_chat(cli: CommandLine) -> None:
    with developing(cli) as (_, url), cli.terminal("chat", "--url", url) as terminal:
        terminal.wait_for_prompt(">")
        terminal.type("What is the weather in Oslo?")
        terminal.wait_for("events")
        terminal.wait_for_prompt(">")
        terminal.type("Then fly me to Rome")
        terminal.wait_for("Book the flight")
        terminal.wait_for_prompt(r"\?")
        terminal.type("y")
        terminal.wait_for("events")
        terminal.wait_for_prompt(">")
        shown = terminal.raw
    check_picture(PICTURES / "chat.svg", shown, "ppio-agent chat")
