"""A store of invocations behind TLS and a password, behind Sentinel, in a cluster: real servers, each of its kind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from ppio_agent_models import ConfigurationError
from ppio_agent_runtime.invocations.redis_store import RedisStore
from ppio_agent_runtime.invocations.shared_store import RefusedError
from ppio_agent_runtime.invocations.store import KeyScope, StoreBounds
from tests.support.gates import eventually
from tests.support.ports import free_port
from tests.support.redis_server import SERVER, Redis, needs_redis_server, redis_server
from tests.support.stored import SCOPE, NothingRuns, begun, finished

pytestmark = needs_redis_server
pytest.importorskip("redis", reason="the extra [redis] is not installed")


@contextmanager
def behind_tls(folder: Path) -> Iterator[str]:
    """Yield the address of a server with TLS, a user and a password."""
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    files = ["--tls-cert-file", f"{folder}/server.pem", "--tls-key-file", f"{folder}/server.pem"]
    options = ["--tls-port", str(port), *files, "--tls-auth-clients", "no"]
    with redis_server(folder, *options) as redis:
        redis.ask("ACL", "SETUSER", "agent", "on", ">pass%word", "~{kinds}:*", "+@all")
        yield f"rediss://agent:pass%25word@127.0.0.1:{port}/0?prefix=kinds&ssl_ca_certs={folder}/ca.pem"


@contextmanager
def behind_sentinel(folder: Path) -> Iterator[str]:
    """Yield the address of a master that a Sentinel knows by its name."""
    with redis_server(folder) as redis, ExitStack() as stack:
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor mine 127.0.0.1 {redis.port} 1\n"
        )
        with (folder / "sentinel.log").open("ab") as log:
            command = [SERVER, str(folder / "sentinel.conf"), "--sentinel"]
            process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        stack.callback(process.kill)
        sentinel = Redis(folder)
        sentinel.port = port
        eventually(lambda: answers(sentinel, b"+PONG", "PING"), "Sentinel answers")
        yield f"redis+sentinel://127.0.0.1:{port}/mine/0?prefix=kinds"


@contextmanager
def in_cluster(folder: Path) -> Iterator[str]:
    """Yield the address of a cluster of two nodes, each with half of the slots."""
    with ExitStack() as stack:
        nodes = []
        for name, slots in (("one", ("0", "8191")), ("two", ("8192", "16383"))):
            (folder / name).mkdir()
            node = stack.enter_context(redis_server(folder / name, "--cluster-enabled", "yes"))
            node.ask("CLUSTER", "ADDSLOTSRANGE", *slots)
            nodes.append(node)
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port))
        for node in nodes:
            eventually(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "the cluster works")  # type: ignore[misc]
        yield f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}?prefix=kinds"


def answers(redis: Redis, start: bytes, *words: str) -> bool:
    try:
        return redis.ask(*words).startswith(start)
    except OSError:
        return False


KINDS = {"tls": behind_tls, "sentinel": behind_sentinel, "cluster": in_cluster}


@pytest.fixture(params=list(KINDS))
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    kind: Callable[[Path], object] = KINDS[request.param]
    with kind(tmp_path) as address:  # type: ignore[attr-defined]
        yield address


async def test_two_replicas_share_their_invocations(address: str) -> None:
    bounds = StoreBounds(10, 600, 1 << 20)
    here, there = (RedisStore(address, bounds, NothingRuns()) for _ in range(2))
    await here.open()
    await there.open()
    try:
        assert here.instance_id == there.instance_id is not None
        assert await here.begin(begun()) is None
        assert await there.begin(begun("b")) == begun()
        watch = there.watch("a")
        await watch.tell(0)
        began = time.monotonic()
        await here.finish(finished())
        await watch.wait(60)
        assert time.monotonic() - began < 50  # it was told
        await watch.close()
        assert await there.get("a") == await there.get_by_key(SCOPE) == finished()
        assert await there.begin(begun("c", KeyScope("", "", "other"))) is None
        await there.delete("c")
        assert await here.get("c") is None
        with pytest.raises(RefusedError):
            await here.read("c", 0, 0)
    finally:
        await here.close()
        await there.close()
    assert here.failure is None


async def test_wrong_password_is_told_without_it(tmp_path: Path) -> None:
    with behind_tls(tmp_path) as address:
        store = RedisStore(address.replace("pass%25word", "hunter2"), StoreBounds(10, 600, 1 << 20), NothingRuns())
        with pytest.raises(ConfigurationError, match="cannot be used") as caught:
            await store.open()
        assert "hunter2" not in str(caught.value)
        assert "agent:" not in str(caught.value)
