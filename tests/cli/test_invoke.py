"""`invoke`: inputs, answers, streams, sessions, and how it ends; with real sandboxes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from tests.support.command_line import PPIO_AGENT, CommandLine
from tests.support.processes import serving

from .agents import write_agent

LOCAL = ("--local", "--template-id", "./parrot")


@pytest.fixture
def living(cli: CommandLine, parrot: Path) -> str:
    """A session that lives."""
    session_id: str = cli.run("invoke", *LOCAL, "-i", "heard", "--keep", "--json").document["session_id"]
    return session_id


def sandboxes(cli: CommandLine) -> list[str]:
    return [sandbox.session_id for sandbox in SyncLocalSandboxProvider(cli.home).list_sandboxes()]


@pytest.mark.slow
def test_an_answer_is_raw_in_a_pipe_and_its_sandbox_is_gone(cli: CommandLine, parrot: Path) -> None:
    ended = cli.run("invoke", *LOCAL, "--input", '{"prompt": "?", "list": [1, "é"]}')

    assert (ended.code, ended.out) == (0, '{"prompt": "?", "list": [1, "é"]}\n')
    assert "--keep" in ended.err
    assert sandboxes(cli) == []


@pytest.mark.slow
def test_an_answer_is_a_document_with_json(cli: CommandLine, parrot: Path) -> None:
    document = cli.run("invoke", *LOCAL, "-i", "heard", "--json").document

    assert document["result"] == 1
    assert document["status"] == "success"
    assert document["kept"] is False
    assert set(document) == {
        "result", "status", "duration", "metadata", "error", "error_type", "session_id", "template_id", "kept",
    }  # fmt: skip


@pytest.mark.slow
def test_a_text_from_a_pipe_is_a_prompt_on_any_locale(cli: CommandLine, parrot: Path) -> None:
    piped = cli.run("invoke", *LOCAL, stdin="say 世界\n", LC_ALL="C")
    typed = cli.run("invoke", *LOCAL, "--input", "世界", LC_ALL="C")

    assert piped.out == "said\n"
    assert typed.out == '{"prompt": "世界"}\n'


@pytest.mark.slow
def test_a_stream_is_shown_as_text_and_what_is_no_text_on_lines(cli: CommandLine, parrot: Path) -> None:
    assert cli.run("invoke", *LOCAL, "-i", "count 3", "--stream").out == "0 1 2 \n"
    assert cli.run("invoke", *LOCAL, "-i", "objects", "--stream").out == '{"n": 1}\ntextand text\n'


@pytest.mark.slow
def test_a_stream_with_json_is_one_document_a_line(cli: CommandLine, living: str) -> None:
    import json

    ended = cli.run("invoke", "--local", "-s", living, "-i", "count 2", "--stream", "--json")
    lines = [json.loads(line) for line in ended.out.splitlines()]

    assert lines[:2] == [{"kind": "chunk", "data": f"{n} ", "event_id": n + 1} for n in range(2)]
    assert (lines[-1]["kind"], lines[-1]["data"]["status"], lines[-1]["event_id"] > 2) == ("done", "success", True)


@pytest.mark.slow
def test_a_session_is_kept_and_gone_on_with(cli: CommandLine, living: str) -> None:
    again = cli.run("invoke", "--local", "--session-id", living, "--input", "heard")

    assert again.out == "2\n"
    assert f"ppio-agent invoke --local -s {living} -i" in again.err
    assert sandboxes(cli) == [living]


@pytest.mark.slow
def test_a_chosen_session_is_made_or_joined(cli: CommandLine, parrot: Path) -> None:
    answers = [cli.run("invoke", *LOCAL, "--session-id", "müller 7", "-i", "heard").out for _ in range(2)]
    assert answers == ["1\n", "2\n"]
    assert sandboxes(cli) == ["müller 7"]


def test_the_agent_of_this_folder_is_meant_when_none_is_named(cli: CommandLine) -> None:
    write_agent(cli.folder)
    ended = cli.run("invoke", "--input", "heard", PPIO_AGENT_PROVIDER="local")
    assert (ended.code, ended.out) == (0, "1\n")


@pytest.mark.slow
def test_variables_reach_the_agent_and_nothing_else_does(cli: CommandLine, parrot: Path) -> None:
    (cli.folder / "vars").write_text("COLOUR=blue\nSIZE=9\n")
    options = ("--env", "COLOUR=red", "--env", "HERE", "--env-file", "vars")
    question = ("-i", "show COLOUR SIZE HERE PPIO_API_KEY")
    shown = cli.run("invoke", *LOCAL, *options, *question, HERE="there", PPIO_API_KEY="sk")
    assert shown.out == '["red", "9", "there", null]\n'


@pytest.mark.slow
def test_an_agent_is_asked_at_its_address(cli: CommandLine, parrot: Path) -> None:
    with serving("-m", "ppio_agent_runtime", parrot / "main.py") as url:
        ended = cli.run("invoke", "--url", url, "--input", "heard")
        both = cli.run("invoke", "--url", url, "--local", "--keep", "--input", "x")
    gone = cli.run("invoke", "--url", url, "--input", "x")
    assert (ended.code, ended.out, ended.err) == (0, "1\n", "Waiting for the result\n")
    assert (both.code, "--local, --keep" in both.err) == (2, True)
    assert (gone.code, "`ppio-agent dev` in its folder starts it" in gone.err) == (1, True)


@pytest.mark.slow
def test_an_agent_that_failed_has_the_reason_in_its_log(cli: CommandLine, parrot: Path) -> None:
    ended = cli.run("invoke", *LOCAL, "-i", "raise")

    said, _, log = ended.err.rstrip().rpartition("See its log: ")
    request_id = said.rpartition("request id ")[2].split(".")[0]
    shown = cli.run(*log.split()[1:])
    assert (ended.code, said.count(request_id)) == (1, 1)
    assert "KeyError: 'on its own'" in shown.out
    assert request_id in shown.out
    assert shown.err.startswith(("The agent has ended", "The agent was stopped"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((*LOCAL, "-i", "fail enough of this"), 1, "enough of this"),
        ((*LOCAL, "-i", "die with my boots on"), 1, "ended by itself"),
        (("--local", "-t", "nobody", "-i", "x"), 3, "no template 'nobody'"),
        (("--local", "-s", "nobody", "-i", "x"), 3, "no session 'nobody'"),
        (("--local", "-i", "x"), 2, "Which agent?"),
        ((*LOCAL, "-i", ""), 2, "The input is empty"),
        ((*LOCAL, "--env", "1=2", "-i", "x"), 2, "is not a valid name"),
        (("-t", "x", "-i", "x"), 4, "PPIO_API_KEY is not set"),
        ((*LOCAL, "-i", "wait", "--stream", "--timeout", "0.5", "--env", "MARKS=."), 5, "0.5"),
        (("--url", "http://127.0.0.1:1", "-i", "x"), 1, "Is the agent running at http://127.0.0.1:1?"),
    ],
)
@pytest.mark.slow
def test_what_went_wrong_is_told_in_a_sentence_and_a_code(
    cli: CommandLine, parrot: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    ended = cli.run("invoke", *arguments)

    assert (ended.code, "Traceback" in ended.err) == (code, False), ended.err
    assert says in ended.err
    assert sandboxes(cli) == []


@pytest.mark.slow
def test_an_error_in_a_stream_is_told_in_the_stream_and_at_its_end(cli: CommandLine, parrot: Path) -> None:
    import json

    ended = cli.run("invoke", *LOCAL, "-i", "fail twice", "--stream", "--json")

    assert (ended.code, ended.error["type"], ended.error["status_code"]) == (1, "Refused", 409)
    assert [json.loads(line)["kind"] for line in ended.out.splitlines()] in (["error"], [])


@pytest.mark.slow
def test_a_session_that_sleeps_says_how_to_wake_it(cli: CommandLine, living: str) -> None:
    paused = cli.run("sessions", "pause", living, "--local")
    asked = cli.run("invoke", "--local", "-s", living, "-i", "heard")
    resumed = cli.run("sessions", "--local", "resume", living)

    assert (paused.code, asked.code, resumed.code) == (0, 1, 0)
    assert f"ppio-agent sessions resume --local {living}" in asked.err
    assert "still running" not in asked.err
    assert cli.run("invoke", "--local", "-s", living, "-i", "heard").out == "2\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_a_signal_stops_the_agent_and_closes_its_sandbox(
    cli: CommandLine, parrot: Path, number: signal.Signals, code: int
) -> None:
    marks = f"MARKS={cli.folder}"
    process = cli.start("invoke", *LOCAL, "-i", "wait", "--stream", "--env", marks, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(7) == "waiting"
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)

    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert sandboxes(cli) == []


@pytest.mark.slow
def test_on_a_terminal_objects_have_lines_and_colours_can_be_off(cli: CommandLine, parrot: Path) -> None:
    with cli.terminal("invoke", *LOCAL, "-i", '{"a": 1}', NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert '{\n  "a": 1\n}\n' in terminal.screen
    assert "\x1b[3" not in terminal.raw


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(cli: CommandLine, parrot: Path) -> None:
    line = " ".join([*PPIO_AGENT, "invoke", *LOCAL, "-i", "'count 20000'", "--stream", "|", "head", "-c", "4"])
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=cli.folder, env=cli.variables({}), capture_output=True, text=True,
        check=False, timeout=100,
    )  # fmt: skip
    assert (ended.stdout, "Traceback" in ended.stderr) == ("0 1 ", False)
    assert sandboxes(cli) == []


@pytest.mark.slow
def test_an_agent_at_an_address_is_told_session_user_and_headers(cli: CommandLine) -> None:
    (cli.folder / "main.py").write_text(
        "from ppio_agent_runtime import PPIOAgentRuntimeApp\n"
        "app = PPIOAgentRuntimeApp()\n"
        "@app.entrypoint\n"
        "def agent(payload: dict, context):\n"
        "    return [context.session_id, context.user_id, context.headers.get('x-tenant')]\n"
    )
    with serving("-m", "ppio_agent_runtime", cli.folder / "main.py") as url:
        said = ("--session-id", "müller 7", "--user-id", "ada", "-H", "X-Tenant: a")
        ended = cli.run("invoke", "--url", url, "--input", "x", *said)
        streamed = cli.run("invoke", "--url", url, "--input", "x", "--stream", *said)
        wrong = cli.run("invoke", "--url", url, "--input", "x", "-H", "X-Tenant=secret-1234567890123456789")
        ours = cli.run("invoke", "--url", url, "--input", "x", "-H", "Idempotency-Key: 7")
    assert (ended.out, streamed.out) == ('["müller 7", "ada", "a"]\n',) * 2
    assert (wrong.code, "has no colon" in wrong.err, "7890123456789" in wrong.err) == (2, True, False)
    assert (ours.code, "idempotency_key=" in ours.err) == (2, True)
