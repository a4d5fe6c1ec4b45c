"""The log that the page shows: what was logged and printed, from any position on, live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agent_process import agent_process
from tests.support.calls import call, refusal
from tests.support.raw_http import (
    Connection,
    Event,
    get,
    invoke,
)

pytestmark = pytest.mark.contract

TALKING = """
import logging
app = PPIOAgentRuntimeApp(AgentConfig(debug=True, heartbeat_seconds=0.2))
mine = logging.getLogger("mine")

@app.entrypoint
def agent(payload):
    for number in range(payload.get("lines", 1)):
        print("printed", number)
    mine.info("logged \\x1b[1mbold\\x1b[0m %s", payload.get("word"))
    return 1
"""
LOG = b"GET /console/log HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def reading(url: str, after: int | None = None) -> Iterator[Iterator[Event]]:
    with Connection(url) as connection:
        position = b"" if after is None else b"Last-Event-ID: %d\r\n" % after
        connection.send(LOG + position + b"\r\n")
        status, headers = connection.read_head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield connection.events()


def until_word(events: Iterator[Event], word: str) -> list[Event]:
    found = []
    for event in events:
        found.append(event)
        if word in event.data.get("message", ""):
            return found
    raise AssertionError(found)


def test_log_has_what_was_logged_and_printed_and_goes_on_live(tmp_path: Path) -> None:
    with agent_process(tmp_path, TALKING, PPIO_AGENT_CONSOLE_LOG="1") as process:
        url = process.url
        assert get(url, "/console/settings").json["has_log"] is True
        first = invoke(url, {"word": "first"})
        with reading(url) as events:
            lines = until_word(events, "first")
            invoke(url, {"word": "second"})
            live = until_word(events, "second")
        printed = next(line.data for line in lines if line.data["source"] == "stdout")
        logged = lines[-1].data
        assert (printed["message"], printed["level"], printed["where"]) == ("printed 0", None, None)
        assert printed["run"] == logged["run"] == first.headers["x-ppio-invocation-id"]
        assert logged["message"] == "logged \x1b[1mbold\x1b[0m first"
        assert (logged["level"], logged["logger"], logged["where"][:9]) == ("INFO", "mine", "agent.py:")
        numbers = [line.event_id for line in [*lines, *live]]
        assert numbers == list(range(numbers[0] or 0, (numbers[0] or 0) + len(numbers)))
        assert process.wait_for_log("second")  # it is written as before, too

        with reading(url, after=lines[-1].event_id) as events:
            assert until_word(events, "second")[0].event_id == (lines[-1].event_id or 0) + 1
        with reading(url, after=10**9) as events:  # of a process before a reload
            assert until_word(events, "first")
        process.terminate()
        assert process.wait() == 0


def test_reader_who_comes_back_too_late_is_told_what_it_missed(tmp_path: Path) -> None:
    with agent_process(tmp_path, TALKING, PPIO_AGENT_CONSOLE_LOG="1") as process:
        url = process.url
        invoke(url)
        with reading(url) as events:
            last = next(events).event_id
        invoke(url, {"lines": 1500, "word": "end"})
        with reading(url, after=last) as events:
            dropped, *lines = until_word(events, "end")
        assert dropped.kind == "dropped"
        assert dropped.data["lines"] > 400
        assert (lines[0].event_id or 0) == (last or 0) + dropped.data["lines"] + 1
        assert 900 < len(lines) <= 1000


def test_reader_of_the_log_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with agent_process(tmp_path, TALKING, PPIO_AGENT_CONSOLE_LOG="1") as process:
        invoke(process.url)
        with reading(process.url) as events:
            next(events)
            process.terminate()
            for _ in events:  # it ends in order: a cut would fail
                pass
        assert process.wait() == 0


def test_bad_position_is_refused(tmp_path: Path) -> None:
    with agent_process(tmp_path, TALKING, PPIO_AGENT_CONSOLE_LOG="1") as process:
        asked = {"Last-Event-ID": "-1"}
        answer = call(process.url, "/console/log", method="GET", headers=asked)
        refusal(answer, 400, "BadRequestError")


@pytest.mark.parametrize("isolated", [False, True])
def test_silence_of_the_log_is_filled(tmp_path: Path, isolated: bool) -> None:
    program = TALKING.replace("debug=True", f"debug=True, isolate_handlers={isolated}")
    with agent_process(tmp_path, program, PPIO_AGENT_CONSOLE_LOG="1") as process, Connection(process.url) as connection:
        connection.send(LOG + b"\r\n")
        connection.read_head()
        assert next(block for block in connection.blocks() if block.startswith(b":")) == b": keep-alive"
