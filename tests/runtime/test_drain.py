"""SIGTERM: no new work, and time for the running work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.draining import BRIEF, STREAM, SYNC, VALUE, begun, wait_until_draining
from tests.support.agent_process import agent_process
from tests.support.gates import eventually
from tests.support.raw_http import PROTOCOL_1, Connection, get, request

pytestmark = pytest.mark.contract


def test_idle_agent_ends_with_0(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent:
        assert get(agent.url, "/ping").status == 200
        agent.terminate()
        assert agent.wait() == 0


def test_draining_agent_is_not_ready(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        ping = get(agent.url, "/ping").json
        assert (ping["status"], ping["message"]) == ("Unhealthy", "draining")
        agent.say("go on")
        assert agent.wait() == 0


def test_new_work_is_refused_with_503_while_the_port_is_still_open(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as running, Connection(agent.url) as new:
        running.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        new.post()
        refused = new.read_answer()
        assert (refused.status, refused.json["error_type"]) == (503, "DrainingError")
        assert int(refused.headers["retry-after"]) >= 1
        agent.say("go on")
        assert agent.wait() == 0


@pytest.mark.parametrize(
    ("program", "settings"),
    [(VALUE, {}), (SYNC, {}), (VALUE, {"PPIO_AGENT_ISOLATE_HANDLERS": "1"})],
    ids=["async", "sync", "isolated"],
)
@pytest.mark.slow
def test_running_value_may_finish_within_the_grace(tmp_path: Path, program: str, settings: dict[str, str]) -> None:
    with agent_process(tmp_path, program, **settings) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert connection.read_answer().result == "finished"
        assert agent.wait() == 0


def test_running_stream_may_finish_within_the_grace(tmp_path: Path) -> None:
    with agent_process(tmp_path, STREAM) as agent, Connection(agent.url) as connection:
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        events = connection.events()
        assert next(events).data == 1
        agent.terminate()
        wait_until_draining(agent)
        agent.say("go on")
        assert [event.kind for event in events] == ["chunk", "done"]
        assert agent.wait() == 0


def test_stream_beyond_the_grace_ends_with_an_error_event_that_says_draining(tmp_path: Path) -> None:
    with agent_process(tmp_path, STREAM, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        events = connection.events()
        assert next(events).data == 1
        agent.terminate()
        (last,) = events
        assert (last.kind, last.data["error_type"]) == ("error", "DrainingError")
        assert "draining" in last.data["error"]
        assert agent.wait() == 0
        assert agent.heard("closed")


def test_value_beyond_the_grace_is_503(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE, **BRIEF) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        answer = connection.read_answer()
        assert (answer.status, answer.json["error_type"]) == (503, "DrainingError")
        assert "retry-after" not in answer.headers  # it may have done something
        assert agent.wait() == 0


def test_upload_in_progress_is_refused_when_the_drain_begins(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.send(request({"prompt": "half of it"})[:-5])
        eventually(lambda: get(agent.url, "/ping").status == 200, "it runs")
        agent.terminate()
        answer = connection.read_answer()
        assert (answer.status, answer.json["error_type"]) == (503, "DrainingError")
        assert agent.wait() == 0


def test_drain_says_nothing_about_errors_when_all_goes_well(tmp_path: Path) -> None:
    with agent_process(tmp_path, VALUE) as agent, Connection(agent.url) as connection:
        connection.post()
        begun(agent)
        agent.terminate()
        agent.say("go on")
        assert connection.read_answer().result == "finished"
        assert agent.wait() == 0
        assert "ERROR" not in agent.log
        assert "Traceback" not in agent.log
