"""`app.run()` takes what uvicorn takes, and says in one sentence what it does not take and why it cannot listen."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import trustme

from ppio_agent_models import ConfigurationError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, PPIOAgentRuntimeServer
from ppio_agent_runtime.testing import running
from tests.runtime.wire import connect, read_to_end, read_until, send_post, until

REQUEST = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def agent(**config: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**config))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> str:
        return "here"

    return app


@contextmanager
def served(app: PPIOAgentRuntimeApp, **options: Any) -> Iterator[PPIOAgentRuntimeServer]:
    server = PPIOAgentRuntimeServer(app, port=0, **{"host": "127.0.0.1"} | options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield server
    finally:
        server.stop()
        thread.join()


def test_agent_is_served_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with served(agent(), ssl_certfile=tmp_path / "both.pem") as server:
        connection = HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=30)
        connection.request("POST", "/invocations", "{}", {"Content-Type": "application/json"})
        assert json.loads(connection.getresponse().read())["result"] == "here"
        connection.close()


def test_agent_is_served_on_a_unix_socket(tmp_path: Path) -> None:
    place = str(tmp_path / "agent.sock")
    with served(agent(), uds=place), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(place)
        caller.sendall(REQUEST)
        assert b'"result":"here"' in read_to_end(caller)


def test_agent_is_served_on_a_listening_socket_that_it_was_given(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as caller:
        listening.bind(str(tmp_path / "agent.sock"))
        with served(agent(), fd=listening.fileno()):
            caller.connect(str(tmp_path / "agent.sock"))
            caller.sendall(REQUEST)
            assert b'"result":"here"' in read_to_end(caller)


@pytest.mark.parametrize("option", [{"loop": "asyncio"}, {"http": "h11"}, {"root_path": ""}, {"backlog": 5}])
def test_other_options_reach_uvicorn(option: dict[str, Any]) -> None:
    with served(agent(), **option) as server, connect(f"http://127.0.0.1:{server.port}") as caller:
        caller.sendall(REQUEST)
        assert b'"result":"here"' in read_to_end(caller)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ({"workers": 4}, "uvicorn main:app --workers 4"),
        ({"reload": True}, "ppio-agent dev"),
        ({"lifespan": "off"}, "always runs"),
        ({"log_config": None}, "log_format"),
        ({"timeout_keep_alive": 5}, "keep_alive_seconds"),
        ({"proxy_headers": True}, "forwarded_allow_ips"),
        ({"app": None}, "serves this app"),
        ({"ssl_certificate": "x"}, "is unknown"),
    ],
)
def test_option_that_is_not_for_us_is_refused_with_the_reason(option: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        agent().run(**option)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ssl_certfile": "/no/such.pem"}, "ssl_certfile is '/no/such.pem', and there is no such file"),
        ({"ssl_certfile": __file__, "ssl_keyfile": "/no/key.pem"}, "ssl_keyfile is '/no/key.pem'"),
        ({"ssl_keyfile": __file__}, "ssl_keyfile needs its certificate"),
        ({"ssl_certfile": __file__}, "TLS cannot be set up with ssl_certfile"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1:"),
    ],
)
def test_what_cannot_be_listened_on_ends_with_1_and_one_sentence(
    options: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        agent(port=0).run(**options)
    written = capsys.readouterr().err
    assert ended.value.code == 1
    assert said in written
    assert "Traceback" not in written


def test_port_in_use_ends_with_1_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        agent().run(port=taken.getsockname()[1], host="127.0.0.1")
    assert ended.value.code == 1
    assert "cannot listen on 127.0.0.1:" in capsys.readouterr().err


def test_unix_socket_in_no_folder_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        agent().run(uds="/no/such/folder/agent.sock")
    assert ended.value.code == 1
    assert "cannot listen on unix:/no/such/folder/agent.sock" in capsys.readouterr().err


async def test_run_inside_a_running_loop_names_the_ways_out() -> None:
    app = agent()
    with pytest.raises(ConfigurationError, match=r"threading\.Thread\(target=app\.run\)"):
        app.run(port=0, host="127.0.0.1")
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(_ask, app) == "here"  # and afterwards it still can be served


def _ask(app: PPIOAgentRuntimeApp) -> object:
    with running(app) as url, connect(url) as caller:
        send_post(caller)
        head = read_until(caller, b"}")
        return json.loads(head.partition(b"\r\n\r\n")[2] or read_until(caller, b"}"))["result"]


def test_idle_connection_is_closed_after_keep_alive_seconds() -> None:
    with running(agent(keep_alive_seconds=0.2)) as url, connect(url) as caller:
        send_post(caller)
        assert b'"result":"here"' in read_to_end(caller)


def test_idle_connection_outlives_that_of_usual_load_balancers() -> None:
    assert AgentConfig().keep_alive_seconds > 60


@pytest.mark.parametrize(
    ("config", "host", "is_told"),
    [
        ({"protocols": ["openai"]}, "0.0.0.0", True),  # that is what it is about
        ({"protocols": ["openai"], "api_keys": ["key"]}, "0.0.0.0", False),
        ({"protocols": ["openai"]}, "127.0.0.1", False),
        ({}, "0.0.0.0", False),
    ],
)
def test_a_model_that_anybody_may_use_is_told_at_start(
    config: dict[str, Any], host: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with served(agent(**config), host=host):
        pass
    assert ("use the agent and its model without a key (protocols: openai)" in caplog.text) == is_told
