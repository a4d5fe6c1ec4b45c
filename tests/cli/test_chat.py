"""`chat`: a conversation in a real terminal or through a pipe, with a real agent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import PPIO_AGENT, CommandLine, Terminal
from tests.support.ports import free_port

from .agents import write_agent

PROGRAM = """
import asyncio
from pathlib import Path
from ppio_agent_models import (
    AgentInput, Interrupt, ReasoningMessageContentEvent, RunFinishedEvent, RunOutcome, TextMessageContentEvent,
    ToolCallArgsEvent, ToolCallEndEvent, ToolCallResultEvent, ToolCallStartEvent,
)
from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp, RequestContext

app = PPIOAgentRuntimeApp()
heard = {}

@app.entrypoint
async def answer(request: AgentInput, context: RequestContext):
    said = heard.setdefault(context.session_id, [])
    said.append(request.prompt)
    if request.resume:
        yield TextMessageContentEvent(delta=f"{request.resume[0].status} {request.resume[0].payload}")
        return
    match request.prompt:
        case "fail":
            raise AgentError("The weather service is down.")
        case "wait":
            try:
                yield TextMessageContentEvent(delta="waiting")
                await asyncio.sleep(600)
            finally:
                Path("cancelled").touch()
        case "weather":
            yield ToolCallStartEvent(tool_call_id="c", tool_call_name="get_weather")
            yield ToolCallArgsEvent(tool_call_id="c", delta='{"city": "Oslo"}')
            yield ToolCallEndEvent(tool_call_id="c")
            yield ToolCallResultEvent(tool_call_id="c", content='{"temperature": -3}')
        case "evil":
            yield TextMessageContentEvent(delta="\\x1b]0;title\\x07\\x1b[2Jharmless")
    yield TextMessageContentEvent(delta=f"message {len(said)}: ")
    yield TextMessageContentEvent(delta=request.prompt)
    if request.prompt == "book":
        interrupt = Interrupt(id="q", message="Book the flight?")
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[interrupt]))
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the folder of an agent that runs."""
    folder = write_agent(tmp_path_factory.mktemp("agent"), main=PROGRAM)
    port = free_port()
    process = subprocess.Popen(
        [*PPIO_AGENT, "dev", "--json", "--port", str(port)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PPIO_AGENT_HOME": str(folder / "home")},
    )
    assert process.stdout is not None
    with process:
        assert json.loads(process.stdout.readline())["event"] == "ready"
        yield f"http://127.0.0.1:{port}", folder
        process.terminate()
        process.stdout.read()


def say(terminal: Terminal, text: str, until: str = r"\d events") -> None:
    terminal.wait_for_prompt(">")
    terminal.type(text)
    terminal.wait_for(until)


@pytest.mark.slow
def test_a_conversation_has_a_memory_and_shows_tools_and_times(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "hello")
        say(terminal, "weather")
        assert "message 1: hello" in terminal.screen
        assert "message 2: weather" in terminal.screen
        assert '  get_weather {"city": "Oslo"}\n' in terminal.screen
        assert '  get_weather → {"temperature": -3}' in terminal.screen
        assert "\x1b[2m  get_weather" in terminal.raw
        say(terminal, "/events", "RUN_FINISHED")
        assert "TOOL_CALL_RESULT" in terminal.screen
        say(terminal, "/new", "New session")
        say(terminal, "hello")
        assert terminal.screen.count("message 1: hello") == 2
        terminal.wait_for_prompt(">")
        terminal.press("\x1b[A")  # the last message again
        terminal.wait_for("hello")
        terminal.type("")
        terminal.wait_for("message 2: hello")
        say(terminal, "/quit", "")
        assert terminal.end() == 0


@pytest.mark.slow
def test_ctrl_c_cancels_the_answer_and_twice_ends(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "wait", "waiting")
        terminal.interrupt()
        terminal.wait_for("Cancelled")
        say(terminal, "hello")
        assert (agent[1] / "cancelled").exists()
        terminal.wait_for_prompt(">")
        terminal.interrupt()
        terminal.wait_for("Press Ctrl-C again to end")
        terminal.wait_for_prompt(">")
        terminal.interrupt()
        assert terminal.end() == 130


@pytest.mark.slow
def test_the_end_of_input_ends_it(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        terminal.wait_for_prompt(">")
        terminal.press("\x04")
        assert terminal.end() == 0


@pytest.mark.slow
def test_a_failure_is_told_and_the_conversation_goes_on(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "fail", "Error: The weather service is down")
        say(terminal, "hello")
        assert "message 2: hello" in terminal.screen


@pytest.mark.parametrize(
    ("typed", "taken"), [("y", "resolved True"), ("maybe", "resolved maybe"), ("", "cancelled None")]
)
@pytest.mark.slow
def test_an_interrupt_is_asked_and_resumed(cli: CommandLine, agent: tuple[str, Path], typed: str, taken: str) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "book", r"Book the flight\?")
        terminal.wait_for_prompt(r"\?")
        terminal.type(typed)
        terminal.wait_for(taken)


@pytest.mark.slow
def test_nothing_that_an_agent_says_steers_the_terminal(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "evil")
        assert "\x1b]0;" not in terminal.raw
        assert "harmless" in terminal.screen


@pytest.mark.slow
def test_a_conversation_is_saved_once(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0]) as terminal:
        say(terminal, "hello")
        say(terminal, "/save talk.jsonl", "Saved")
        say(terminal, "/save talk.jsonl", "cannot be written: File exists")
    lines = [json.loads(line) for line in (cli.folder / "talk.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["content"] == "hello"
    assert lines[-1]["event"]["type"] == "RUN_FINISHED"


@pytest.mark.slow
def test_narrow_terminals_get_short_lines(cli: CommandLine, agent: tuple[str, Path]) -> None:
    with cli.terminal("chat", "--url", agent[0], COLUMNS="40") as terminal:
        say(terminal, "weather")
        shown = [line for line in terminal.screen.splitlines() if "get_weather" in line]
        assert len(shown) == 2
        assert max(map(len, shown)) < 40


@pytest.mark.slow
def test_each_line_of_a_pipe_is_a_message(cli: CommandLine, agent: tuple[str, Path]) -> None:
    ended = cli.run("chat", "--url", agent[0], stdin="hello\n//slash\nbook\ny\nweather\n")
    assert ended.code == 0
    assert ended.out == "message 1: hello\nmessage 2: /slash\nmessage 3: book\nresolved True\nmessage 5: weather\n"
    assert "get_weather" in ended.err
    assert "\x1b" not in ended.err


@pytest.mark.slow
def test_a_pipe_with_json_has_one_event_a_line(cli: CommandLine, agent: tuple[str, Path]) -> None:
    ended = cli.run("chat", "--url", agent[0], "--json", stdin="hello\n")
    events = [json.loads(line)["type"] for line in ended.out.splitlines()]
    assert events[0] == "RUN_STARTED"
    assert events[-1] == "RUN_FINISHED"


@pytest.mark.slow
def test_in_a_pipe_a_failure_and_a_question_without_answer_have_exit_codes(
    cli: CommandLine, agent: tuple[str, Path]
) -> None:
    assert cli.run("chat", "--url", agent[0], stdin="fail\nhello\n").code == 1
    asked = cli.run("chat", "--url", agent[0], "--json", stdin="book\n")
    assert asked.code == 6
    assert asked.error["interrupts"][0]["message"] == "Book the flight?"


@pytest.mark.slow
def test_an_agent_that_does_not_run_is_told(cli: CommandLine) -> None:
    ended = cli.run("chat", "--url", f"http://127.0.0.1:{free_port()}", stdin="hello\n")
    assert ended.code == 1
    assert "ppio-agent dev" in ended.err


@pytest.mark.slow
def test_a_sandbox_is_made_for_it_and_closed(cli: CommandLine, parrot: Path) -> None:
    ended = cli.run("chat", "--local", "--template-id", parrot, stdin="heard\n/new\nheard\nheard\n")
    assert ended.out == "1\n1\n2\n"
    assert ended.code == 0
    assert cli.run("sessions", "--local", "--json").document == []


@pytest.mark.slow
def test_a_named_session_is_left_open(cli: CommandLine, parrot: Path) -> None:
    ended = cli.run("chat", "--local", "--template-id", parrot, "-s", "mine", stdin="heard\n")
    assert "ppio-agent chat --local -s mine" in ended.err
    assert cli.run("chat", "--local", "-s", "mine", stdin="heard\n").out == "2\n"


@pytest.mark.slow
def test_the_key_c_of_dev_chats_and_comes_back(cli: CommandLine) -> None:
    folder = write_agent(cli.folder / "typed", main=PROGRAM)
    with cli.terminal("dev", str(folder), "--port", str(free_port()), COLUMNS="100") as terminal:
        terminal.wait_for("curl -N.*\n")
        terminal.press("c")
        say(terminal, "hello")
        assert "message 1: hello" in terminal.screen
        terminal.wait_for_prompt(">")
        terminal.interrupt()
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for_prompt(">")
        (folder / "main.py").write_text(PROGRAM.replace("message {", "sentence {"), encoding="utf-8")
        terminal.wait_for("Running again")
        terminal.type("again")
        terminal.wait_for("sentence 1: again")
        terminal.wait_for_prompt(">")
        terminal.press("\x04")
        terminal.wait_for("Keys: r")
        terminal.press("q")
        assert terminal.end() == 0
        assert "POST /invocations" not in terminal.screen
