"""When a place is free again: interrupts, streams, threads that nobody can stop."""

from __future__ import annotations

import pytest

from ppio_agent_runtime.testing import running
from tests.runtime.turns import Turns, on_both_loops
from tests.runtime.wire import (
    connect,
    in_background,
    post,
    read_until,
    send_post,
    until,
)

pytestmark = pytest.mark.contract


@on_both_loops
def test_an_interrupt_cancels_the_running_invocation_of_the_session(isolated: bool) -> None:
    turns = Turns(max_concurrency_per_session=1, when_busy="interrupt", isolate_handlers=isolated)
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        old = in_background(post, url, {"name": "old"}, session="s")
        other = in_background(post, url, {"name": "other"}, session="t")
        until(lambda: len(turns.began) == 2)
        turns.open("new")
        new = post(url, {"name": "new"}, session="s")
        assert (new.status, new.json["result"]) == (200, "new")
        assert (old.result().status, old.result().json["error_type"]) == (409, "InvocationCancelledError")
        turns.open("other")
        assert other.result().status == 200
    assert turns.ended[:2] == ["old", "new"]


def test_an_interrupt_ends_a_stream_with_an_error_event() -> None:
    turns = Turns(max_concurrency_per_session=1, when_busy="interrupt")
    turns.app.entrypoint(turns.stream)
    with running(turns.app) as url, connect(url) as old:
        send_post(old, {"name": "old"}, session="s")
        read_until(old, b"first")
        turns.open("new")
        assert post(url, {"name": "new"}, session="s").status == 200
        assert b"InvocationCancelledError" in read_until(old, b"0\r\n\r\n")


def test_of_many_interrupts_the_last_one_runs() -> None:
    turns = Turns(max_concurrency_per_session=1, when_busy="interrupt")
    turns.app.entrypoint(turns.function)
    with running(turns.app) as url:
        calls = [in_background(post, url, {"name": "0"}, session="s")]
        until(lambda: turns.began)
        for count in range(1, 4):
            calls.append(in_background(post, url, {"name": str(count)}, session="s"))
            assert calls[count - 1].result().status == 409
        turns.open("0", "3")
        assert calls[3].result().json["result"] == "3"
    assert turns.began == ["0", "3"]


@on_both_loops
def test_an_interrupt_waits_for_the_thread_that_nobody_can_stop(isolated: bool) -> None:
    turns = Turns(max_concurrency_per_session=1, when_busy="interrupt", isolate_handlers=isolated)
    turns.app.entrypoint(turns.function)
    with running(turns.app) as url:
        old = in_background(post, url, {"name": "old"}, session="s")
        until(lambda: turns.began)
        new = in_background(post, url, {"name": "new"}, session="s")
        assert old.result().status == 409  # at once, while the thread goes on
        assert turns.began == ["old"]
        turns.open("old", "new")
        assert new.result().json["result"] == "new"
    assert (turns.began, turns.ended) == (["old", "new"], ["old", "new"])


def test_with_interrupt_a_full_process_still_refuses() -> None:
    turns = Turns(max_concurrency=1, max_concurrency_per_session=1, when_busy="interrupt")
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"}, session="s")
        until(lambda: turns.began)
        refused = post(url, {"name": "b"}, session="t")
        assert (refused.status, refused.json["error_type"]) == (503, "UnavailableError")
        turns.open("c")
        assert post(url, {"name": "c"}, session="s").status == 200
        assert first.result().status == 409


@pytest.mark.parametrize("handler", ["stream", "sync_stream"])
def test_a_stream_holds_its_place_until_its_last_byte(handler: str) -> None:
    turns = Turns(max_concurrency=1)
    turns.app.entrypoint(getattr(turns, handler))
    with running(turns.app) as url, connect(url) as connection:
        send_post(connection, {"name": "a"})
        read_until(connection, b"first")
        assert post(url, {"name": "b"}).status == 503
        turns.open("a")
        read_until(connection, b"0\r\n\r\n")
        turns.open("b")
        until(lambda: post(url, {"name": "b"}).status == 200)


@on_both_loops
@pytest.mark.parametrize("handler", ["function", "sync_stream"])
def test_a_plain_function_holds_its_place_until_its_thread_returns(handler: str, isolated: bool) -> None:
    turns = Turns(max_concurrency=1, isolate_handlers=isolated)
    turns.app.entrypoint(getattr(turns, handler))
    with running(turns.app) as url:
        assert post(url, {"name": "a"}, X_PPIO_Timeout="0.2", Accept="application/json").status == 504
        assert post(url, {"name": "b"}).status == 503
        turns.open("a", "b")
        until(lambda: post(url, {"name": "b"}).status == 200)


def test_a_coroutine_gives_its_place_back_once_it_is_cancelled() -> None:
    turns = Turns(max_concurrency=1)
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        with connect(url) as gone:
            send_post(gone, {"name": "a"})
            until(lambda: turns.began)
        turns.open("b")
        until(lambda: post(url, {"name": "b"}).status == 200)
        assert turns.ended == ["a", "b"]
