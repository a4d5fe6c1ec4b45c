"""The server's side of the lifespan protocol, whatever the layers around an app make of it; and the date of answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from email.utils import format_datetime, formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime._asgi import Receive, Scope, Send
from ppio_agent_runtime._serve.life import Life
from ppio_agent_runtime._serve.serving import http_date
from ppio_agent_runtime.testing import running
from tests.support.raw_http import get

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def lives(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["made"] = "here"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["made"] = "gone"
    await send({"type": "lifespan.shutdown.complete"})


async def knows_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("no such table")


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    raise SystemExit(0)


async def says_why(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the disk is full"})
    raise OSError


async def dies_later(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise LookupError("too late")


async def test_the_state_of_the_startup_is_there_until_the_shutdown() -> None:
    life = Life(lives)
    assert await life.startup()
    assert life.state == {"made": "here"}
    await life.shutdown()
    assert life.state == {"made": "gone"}


async def test_an_app_that_knows_nothing_of_lifespans_is_ready_at_once() -> None:
    life = Life(knows_nothing)
    assert await life.startup()
    await life.shutdown()


@pytest.mark.parametrize("app", [raises, exits, says_why])
async def test_an_app_that_fails_is_not_ready(app: App, caplog: pytest.LogCaptureFixture) -> None:
    assert not await Life(app).startup()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_the_reason_that_an_app_gives_is_told(caplog: pytest.LogCaptureFixture) -> None:
    await Life(says_why).startup()
    assert caplog.messages == ["The startup of the app failed: the disk is full"]


async def test_an_app_whose_lifespan_died_is_shut_down_without_it(caplog: pytest.LogCaptureFixture) -> None:
    life = Life(dies_later)
    assert await life.startup()
    await life.shutdown()
    assert "too late" in caplog.text


@given(st.integers(0, 4_102_444_800))
def test_dates_are_written_as_http_has_them(now: int) -> None:
    assert http_date(now).decode() == formatdate(now, usegmt=True)


def test_every_answer_has_the_date() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda: None)
    with running(app) as url:
        date = get(url, "/ping").headers["date"]
    assert format_datetime(parsedate_to_datetime(date), usegmt=True) == date
