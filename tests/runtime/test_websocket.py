"""WebSockets at /ws, with the `websockets` client over real sockets."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_to

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.wire import request, serving, until

pytestmark = pytest.mark.contract


def app_with(handler: Any = None, **settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> str:
        return "value"

    if handler is not None:
        app.websocket(handler)
    return app


@contextmanager
def connect(url: str, path: str = "/ws", **options: Any) -> Iterator[ClientConnection]:
    with connect_to(url.replace("http:", "ws:") + path, **options) as connection:
        yield connection


def closing(connection: ClientConnection) -> tuple[int | None, str | None]:
    """Wait for the close; return its code and reason."""
    with pytest.raises(ConnectionClosed):
        connection.recv()
    return connection.close_code, connection.close_reason


def refused(url: str, path: str = "/ws", **options: Any) -> tuple[int, Any, Any]:
    """Return status, headers and envelope of a refused handshake."""
    with pytest.raises(InvalidStatus) as error, connect(url, path, **options):
        pass
    response = error.value.response
    return response.status_code, response.headers, json.loads(bytes(response.body or b""))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "end":
            return
        await websocket.send_text(text.upper())


def test_messages_go_both_ways_and_a_return_closes_normally() -> None:
    with running(app_with(echo)) as url, connect(url) as connection:
        connection.send("hello")
        assert connection.recv() == "HELLO"
        connection.send("end")
        assert closing(connection) == (1000, "")


def test_the_handler_gets_a_context_with_the_ids_of_the_handshake() -> None:
    app = app_with()

    @app.websocket
    async def handler(ws: WebSocket, *, context: RequestContext) -> None:
        await ws.accept()
        same = app.context is context
        await ws.send_json([context.request_id, context.session_id, context.user_id, context.headers["x-a"], same])

    headers = {"X-PPIO-Request-Id": "r1", "X-PPIO-Session-Id": "s%20one", "X-PPIO-User-Id": "ada", "X-A": "b"}
    with running(app) as url, connect(url, additional_headers=headers) as connection:
        assert json.loads(connection.recv()) == ["r1", "s one", "ada", "b", True]


def test_http_goes_on_beside_it() -> None:
    with running(app_with(echo)) as url, connect(url) as connection:
        assert request(url, "POST", "/invocations", b"{}").json["result"] == "value"
        connection.send("still here")
        assert connection.recv() == "STILL HERE"


def test_an_open_connection_is_in_flight_for_ping() -> None:
    with running(app_with(echo)) as url:
        with connect(url) as connection:
            connection.send("a")
            connection.recv()
            assert request(url, "GET", "/ping").json["status"] == "HealthyBusy"
        until(lambda: request(url, "GET", "/ping").json["status"] == "Healthy")


def test_a_failure_closes_with_1011_and_no_details(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ValueError("the password is 123")

    with running(app_with(handler)) as url, connect(url) as connection:
        code, reason = closing(connection)

    assert code == 1011
    assert reason is not None
    assert "password" not in reason
    assert "ValueError: the password is 123" in caplog.text


def test_what_the_agent_means_for_callers_is_in_the_reason() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        raise AgentError("é" * 100)

    with running(app_with(handler)) as url, connect(url) as connection:
        assert closing(connection) == (1011, "é" * 61)


def test_the_handlers_own_close_code_stands() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4001, "enough")

    with running(app_with(handler)) as url, connect(url) as connection:
        assert closing(connection) == (4001, "enough")


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [(ValueError("x"), 500, "HandlerError"), (AgentError("no", status_code=418, error_type="Teapot"), 418, "Teapot")],
)
def test_a_failure_before_the_accept_is_an_answer_to_the_handshake(failure: Exception, status: int, kind: str) -> None:
    async def handler(websocket: WebSocket) -> None:
        raise failure

    with running(app_with(handler)) as url:
        answer = refused(url)

    assert (answer[0], answer[2]["error_type"]) == (status, kind)
    assert answer[2]["metadata"]["request_id"] == answer[1]["x-ppio-request-id"]


def test_a_handler_that_returns_without_accepting_refuses() -> None:
    async def handler(websocket: WebSocket) -> None:
        return None

    with running(app_with(handler)) as url, pytest.raises(InvalidStatus) as error, connect(url):
        pass
    assert error.value.response.status_code == 403


def test_the_limit_of_streams_closes_with_1008() -> None:
    ended = threading.Event()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        finally:
            ended.set()

    with running(app_with(handler, stream_timeout=1)) as url, connect(url) as connection:
        code, reason = closing(connection)

    assert code == 1008
    assert reason == "The agent did not finish within 1 s."
    assert ended.is_set()


def test_the_caller_may_ask_for_less_time() -> None:
    with running(app_with(echo)) as url, connect(url, additional_headers={"X-PPIO-Timeout": "0.1"}) as connection:
        assert closing(connection)[0] == 1008


def test_a_malformed_header_is_an_answer_to_the_handshake() -> None:
    with running(app_with(echo)) as url:
        status, _, envelope = refused(url, additional_headers={"X-PPIO-Timeout": "soon"})

    assert (status, envelope["error_type"]) == (400, "BadRequestError")


def test_a_message_above_the_size_limit_closes_with_1009() -> None:
    with running(app_with(echo, max_request_size=100)) as url, connect(url) as connection:
        connection.send("x" * 100)
        assert connection.recv() == "X" * 100
        connection.send("x" * 101)
        assert closing(connection)[0] == 1009


async def test_the_size_limit_holds_on_servers_that_have_none() -> None:
    sent: list[Any] = []
    messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "é" * 51}]

    async def receive() -> Any:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": [], "extensions": {}}
    await app_with(echo, max_request_size=100)(scope, receive, send)

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 1009


def test_a_full_agent_answers_the_handshake_with_503() -> None:
    with running(app_with(echo, max_concurrency=1)) as url, connect(url) as connection:
        connection.send("a")
        connection.recv()
        status, headers, envelope = refused(url)

    assert (status, envelope["error_type"]) == (503, "UnavailableError")
    assert int(headers["retry-after"]) >= 1


def test_a_rate_limit_answers_the_handshake_with_429() -> None:
    with running(app_with(echo, rate_limit="1/60")) as url:
        with connect(url):
            pass
        status, headers, envelope = refused(url)

    assert (status, envelope["error_type"]) == (429, "RateLimitedError")
    assert "ratelimit" in headers


def signed_handshake(secret: str) -> dict[str, str]:
    parameters = f'("@method" "@path");created={int(time.time())};nonce="w1";keyid="ak"'
    base = f'"@method": GET\n"@path": /ws\n"@signature-params": {parameters}'
    signature = base64.b64encode(hmac.digest(secret.encode(), base.encode(), hashlib.sha256)).decode()
    return {"Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{signature}:"}


def test_access_is_that_of_the_other_routes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with running(app_with(echo, api_keys=["k"], hmac_keys={"ak": "s"})) as url:
        status, headers, envelope = refused(url)
        with connect(url, additional_headers={"Authorization": "Bearer k"}) as connection:
            connection.send("a")
            assert connection.recv() == "A"
        with connect(url, additional_headers=signed_handshake("s")):
            pass
        replayed = refused(url, additional_headers=signed_handshake("s"))

    assert (status, envelope["error_type"]) == (401, "AuthenticationError")
    assert headers.get_all("www-authenticate")[0] == 'Bearer realm="agent"'
    assert replayed[0] == 401
    assert caplog.text == ""


def test_paths_without_websockets_are_404() -> None:
    with running(app_with(echo)) as url:
        assert refused(url, "/other")[0] == 404


def test_routes_of_fastapi_have_websockets_too() -> None:
    app = app_with()

    @app.fastapi.websocket("/chat/{room}")
    async def chat(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        await websocket.send_text(room)
        await websocket.close()

    with running(app) as url, connect(url, "/chat/tea") as connection:
        assert connection.recv() == "tea"


def test_a_drain_ends_connections_with_1012_and_refuses_new_ones() -> None:
    entered, cancelled = threading.Event(), threading.Event()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        entered.set()
        try:
            await websocket.receive_text()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app = app_with(handler, shutdown_grace_seconds=1)
    with serving(app) as (url, server), connect(url) as connection:
        assert entered.wait(30)
        server.stop()
        until(lambda: request(url, "GET", "/ping").status == 503)
        status, headers, _ = refused(url)
        assert closing(connection)[0] == 1012

    assert (status, headers["retry-after"]) == (503, "1")
    assert cancelled.is_set()


def test_a_connection_may_end_by_itself_within_the_grace() -> None:
    with serving(app_with(echo)) as (url, server), connect(url) as connection:
        connection.send("a")
        connection.recv()
        server.stop()
        until(lambda: request(url, "GET", "/ping").status == 503)
        connection.send("end")
        assert closing(connection)[0] == 1000


def test_a_handler_that_looks_elsewhere_is_cancelled_when_its_peer_is_gone() -> None:
    entered, cancelled = threading.Event(), threading.Event()

    async def handler(websocket: WebSocket, context: RequestContext) -> None:
        await websocket.accept()
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            if context.cancelled:
                cancelled.set()

    with running(app_with(handler)) as url:
        with connect(url):
            assert entered.wait(30)
        assert cancelled.wait(30)


def test_a_handler_that_has_noticed_may_finish_what_it_does() -> None:
    noticed, finish, finished = threading.Event(), threading.Event(), threading.Event()

    async def handler(websocket: WebSocket, context: RequestContext) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()
        noticed.set()
        await asyncio.to_thread(finish.wait)
        if not context.cancelled:
            finished.set()

    with running(app_with(handler)) as url:
        with connect(url):
            pass
        assert noticed.wait(30)
        finish.set()
        assert finished.wait(30)


def test_it_stands_with_isolated_handlers_too() -> None:
    with running(app_with(echo, isolate_handlers=True)) as url, connect(url) as connection:
        connection.send("hello")
        assert connection.recv() == "HELLO"
        connection.send("end")
        assert closing(connection)[0] == 1000


def test_a_handler_that_blocks_does_not_stop_ping_where_handlers_are_isolated() -> None:
    entered, leave = threading.Event(), threading.Event()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        entered.set()
        leave.wait(30)  # blocks its loop on purpose

    with running(app_with(handler, isolate_handlers=True)) as url, connect(url):
        assert entered.wait(30)
        assert request(url, "GET", "/ping").status == 200
        leave.set()


def test_a_connection_is_counted_as_a_stream() -> None:
    app = app_with(echo)
    with running(app) as url:
        with connect(url) as connection:
            connection.send("end")
            closing(connection)
        until(lambda: b'outcome="success"' in request(url, "GET", "/metrics").body)
        text = request(url, "GET", "/metrics").body.decode()

    assert 'mode="stream"' in text
