"""docs/proxies.md: its configuration, with nginx and two replicas behind it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppio_agent_client import ClientConfig, NetworkError, PPIOAgentRuntimeError, SyncAgentRuntimeClient
from tests.support.gates import eventually
from tests.support.raw_http import Connection
from tests.support.replicas import Replica, free_port, listens, replicas

_NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not Path(_NGINX).exists(), reason="nginx is not installed: apt-get install nginx"),
]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxies.md"
PREFIX = "/agents/weather"
AGENT = """
import signal

app = PPIOAgentRuntimeApp(AgentConfig(heartbeat_seconds=0.2))

@app.entrypoint
async def work(payload):
    do = payload["do"]
    if do == "die":
        with open(folder / "deaths", "a") as deaths:
            deaths.write("died\\n")
        os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()
    if do == "stream":
        return parts()
    if do == "silence":
        return silence()
    return do

async def parts():
    yield "one"
    await passed("go on")
    yield "two"

async def silence():
    await asyncio.sleep(3)
    yield "after 3 s"
"""


@contextmanager
def nginx(folder: Path, ports: tuple[int, int], **changes: str) -> Iterator[str]:
    """Run nginx with the page's configuration on free ports; give its address with the page's prefix."""
    (text,) = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    port = free_port()
    own = {"listen 8080": f"listen 127.0.0.1:{port}", "8081": str(ports[0]), "8082": str(ports[1])}
    for old, new in (own | changes).items():
        assert old in text, old
        text = text.replace(old, new)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}}}\n"
    )
    process = subprocess.Popen([_NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        eventually(lambda: listens(port), "nginx listens")
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def behind_nginx(folder: Path, **changes: str) -> Iterator[tuple[str, Path, Replica]]:
    """Give the address of two replicas behind nginx, their folder, and one of them."""
    agents, server = folder / "agents", folder / "nginx"
    agents.mkdir()
    server.mkdir()
    with (
        replicas(2, agents, AGENT, run=f"root_path={PREFIX!r}") as (one, two),
        nginx(server, (one.port, two.port), **changes) as url,
    ):
        yield url, agents, one


def test_values_and_streams_pass_as_they_are_made(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (url, agents, _), SyncAgentRuntimeClient() as client:
        session = client.attach(url)
        assert [session.invoke({"do": str(number)}).result for number in range(10)] == list(map(str, range(10)))
        with session.stream({"do": "stream"}) as stream:
            assert next(stream) == "one"  # while the agent waits: nobody holds it back
            (agents / "go on").touch()
            assert list(stream) == ["two"]


def test_a_stream_may_be_silent_for_longer_than_the_proxy_waits(tmp_path: Path) -> None:
    changes = {"proxy_read_timeout 60s": "proxy_read_timeout 1s"}
    with behind_nginx(tmp_path, **changes) as (url, _, _), SyncAgentRuntimeClient() as client:
        assert list(client.attach(url).stream({"do": "silence"})) == ["after 3 s"]


def test_location_has_the_prefix(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (url, _, _), Connection(url) as connection:
        body = b'{"do":"x"}'
        connection.send(
            b"POST %b/invocations HTTP/1.1\r\nHost: agent\r\nPrefer: respond-async\r\nContent-Length: %d\r\n\r\n%b"
            % (PREFIX.encode(), len(body), body)
        )
        answer = connection.read_answer()
    assert answer.status == 202
    assert answer.headers["location"] == f"{PREFIX}/invocations/{answer.json['invocation_id']}"


@pytest.mark.parametrize("known", [True, False])
def test_a_replica_that_dies_in_a_call_is_told_once_and_nothing_runs_again(tmp_path: Path, known: bool) -> None:
    with (
        behind_nginx(tmp_path) as (url, agents, _),
        SyncAgentRuntimeClient(config=ClientConfig(retry_delay=0.05)) as client,
    ):
        session = client.attach(url)
        if known:
            session.ping()
        with pytest.raises(PPIOAgentRuntimeError) as caught:
            session.invoke({"do": "die"})
        assert isinstance(caught.value, NetworkError)
        assert not caught.value.retryable
        assert session.invoke({"do": "the other one works"}).result == "the other one works"
        assert (agents / "deaths").read_text() == "died\n"


def test_calls_go_on_when_a_replica_has_drained(tmp_path: Path) -> None:
    with (
        behind_nginx(tmp_path) as (url, _, replica),
        SyncAgentRuntimeClient(config=ClientConfig(retry_delay=0.05)) as client,
    ):
        session = client.attach(url)
        for number in range(20):
            if number == 10:
                replica.process.terminate()
                assert replica.process.wait() == 0
            assert session.invoke({"do": str(number)}).result == str(number)
