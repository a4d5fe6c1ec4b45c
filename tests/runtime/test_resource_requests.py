"""What may be asked of `/invocations/{id}`, and what is answered to anything else."""

from __future__ import annotations

import pytest

from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import events, finished, resource, submit
from tests.support.gated import app_of
from tests.support.gates import Gate, eventually, opening

pytestmark = pytest.mark.contract

ID = "0" * 32


@pytest.mark.parametrize("position", ["x", "-1", "1.5", "9" * 19, "0x1", "٣"])
def test_malformed_last_event_id_is_400(position: str) -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async generator", gate)) as url:
        path = submit(url)
        finished(url, path)
        answer = call(
            url, f"{path}/events", method="GET", headers={"Last-Event-ID": position.encode().decode("latin-1")}
        )
    assert "Last-Event-ID" in refusal(answer, 400, "BadRequestError")


def test_event_that_is_not_yet_made_is_400() -> None:
    gate = Gate()
    with opening(gate), running(app_of("async generator", gate)) as url:
        path = submit(url)
        eventually(lambda: resource(url, path)["last_event_id"] == 1, "the first chunk")
        sentence = refusal(events(url, path, 2), 400, "BadRequestError")
        gate.open()
    assert "The event 2 does not exist yet" in sentence


@pytest.mark.parametrize("wait", ["x", "-1", "301", "nan", "inf", "1e9"])
def test_wait_that_is_no_number_of_seconds_up_to_300_is_400(wait: str) -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async", gate)) as url:
        refusal(call(url, f"{submit(url)}?wait={wait}", method="GET"), 400, "BadRequestError")


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", [ID, "x" * 500, "%0d%0aSet-Cookie:%20a=b", "%C3%BC", ""])
def test_unknown_invocation_is_404(method: str, path: str) -> None:
    gate = Gate()
    with running(app_of("async", gate)) as url:
        answer = call(url, f"/invocations/{path}", method=method)
        assert answer.status == 404
        assert "set-cookie" not in answer.headers
        if method != "HEAD":
            refusal(answer, 404, "NotFoundError")


@pytest.mark.parametrize("path", [f"{ID}/events", f"{ID}/nothing", f"{ID}/events/1", "%0d%0aX:%20y/events"])
def test_unknown_path_below_an_invocation_is_404(path: str) -> None:
    gate = Gate()
    with running(app_of("async", gate)) as url:
        refusal(call(url, f"/invocations/{path}", method="GET"), 404, "NotFoundError")


@pytest.mark.parametrize(("suffix", "allowed"), [("", "GET, HEAD, DELETE"), ("/events", "GET, HEAD")])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_other_methods_are_405_with_what_is_allowed(suffix: str, allowed: str, method: str) -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async", gate)) as url:
        answer = call(url, submit(url) + suffix, method=method, body=b"{}")
    refusal(answer, 405, "MethodNotAllowedError")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("suffix", ["", "/events"])
def test_head_is_get_without_a_body_and_does_not_wait_for_the_end(suffix: str) -> None:
    gate = Gate()
    with opening(gate), running(app_of("async generator", gate)) as url:
        path = submit(url) + suffix
        answer = call(url, path, method="HEAD")
        gate.open()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream" if suffix else "application/json")
