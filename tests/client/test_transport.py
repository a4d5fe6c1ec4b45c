"""The border to httpx: whatever it raises leaves as one of ours; httpx2, and aiohttp below it, as well."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import aiohttp
import httpx
import httpx2
import pytest
from pytest_httpx import HTTPXMock

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    ConnectTimeoutError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    SyncAgentRuntimeClient,
    TotalTimeoutError,
)
from ppio_agent_client._async.transport import translated
from ppio_agent_client._core.limits import Limits
from ppio_agent_client._core.requests import Call
from ppio_agent_client._io import now, tls_context

CALL = Call("POST", "http://agent.example/invocations", {})
LIMITS = Limits(connect=1, first_byte=2, idle=3)
EVERY_FAILURE = [
    kind
    for library in (httpx, httpx2)
    for _, kind in inspect.getmembers(library, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == library.__name__
]
NEVER_SENT = {"ConnectError", "ProxyError", "ConnectTimeout", "PoolTimeout"}


def made(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    error.args = ("the reason",)
    return error


def ours(error: Exception, *, began: bool = False, limits: Limits = LIMITS) -> PPIOAgentRuntimeError:
    translation = translated(error, CALL, limits, began=began)
    assert isinstance(translation, PPIOAgentRuntimeError)
    return translation


@pytest.mark.parametrize("kind", EVERY_FAILURE)
def test_nothing_that_httpx_raises_is_unmapped(kind: type[Exception]) -> None:
    assert "agent.example" in str(ours(made(kind)))


@pytest.mark.parametrize("kind", EVERY_FAILURE)
def test_only_what_was_never_sent_may_be_repeated(kind: type[Exception]) -> None:
    assert ours(made(kind)).retryable is (kind.__name__ in NEVER_SENT)


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(
    ("kind", "began", "expected"),
    [
        ("ConnectTimeout", False, ConnectTimeoutError),
        ("PoolTimeout", False, ConnectTimeoutError),
        ("ReadTimeout", False, FirstByteTimeoutError),
        ("ReadTimeout", True, IdleTimeoutError),
        ("WriteTimeout", False, IdleTimeoutError),
        ("ConnectError", False, NetworkError),
        ("ReadError", True, NetworkError),
        ("RemoteProtocolError", True, NetworkError),
        ("DecodingError", True, NetworkError),
        ("UnsupportedProtocol", False, ConfigurationError),
        ("LocalProtocolError", False, ConfigurationError),
        ("InvalidURL", False, ConfigurationError),
    ],
)
def test_each_failure_has_its_class(library: object, kind: str, began: bool, expected: type[Exception]) -> None:
    assert type(ours(made(getattr(library, kind)), began=began)) is expected


@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout])
def test_a_timeout_behind_the_deadline_is_the_limit_of_the_whole_call(kind: type[Exception]) -> None:
    over = Limits(connect=1, first_byte=2, idle=3, total=9, deadline=now() - 1)
    assert type(ours(made(kind), limits=over)) is TotalTimeoutError


@pytest.mark.parametrize(
    ("cause", "retryable"),
    [
        (aiohttp.ServerDisconnectedError, False),
        (aiohttp.ClientOSError, False),
        (aiohttp.ClientConnectorError, True),
        (aiohttp.ConnectionTimeoutError, True),
    ],
)
def test_a_connection_that_breaks_below_aiohttp_was_not_never_made(cause: type[Exception], retryable: bool) -> None:
    error = made(httpx.ConnectTimeout)  # which httpx-aiohttp raises for all of them
    error.__cause__ = made(cause)
    assert ours(error).retryable is retryable


def test_what_is_not_of_httpx_stays_what_it_is() -> None:
    assert translated(ZeroDivisionError(), CALL, LIMITS, began=False) is None


def test_every_failure_class_is_looked_at() -> None:
    assert len(EVERY_FAILURE) > 50


@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ConnectError])
async def test_a_connection_that_cannot_be_made_is_tried_again(kind: type[Exception], httpx_mock: HTTPXMock) -> None:
    for _ in range(3):
        httpx_mock.add_exception(made(kind))
    async with AgentRuntimeClient(config=ClientConfig(max_retries=2, retry_delay=0)) as client:
        with pytest.raises(NetworkError):
            await client.attach("http://agent.example").invoke("x")
    assert len(httpx_mock.get_requests()) == 3


def test_there_is_one_tls_context_per_process() -> None:
    assert tls_context() is tls_context()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
async def test_certificates_that_are_not_there_are_said_at_once(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(variable, "/nowhere/at/all")
    tls_context.cache_clear()
    try:
        async with AgentRuntimeClient() as client:
            with pytest.raises(ConfigurationError, match=f"('/nowhere/at/all'.*|){variable}"):
                await client.attach("http://127.0.0.1:1").invoke("x")
    finally:
        tls_context.cache_clear()


def test_one_of_several_certificate_folders_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(["/nowhere/at/all", str(tmp_path)]))
    tls_context.cache_clear()
    try:
        assert tls_context() is not None
    finally:
        tls_context.cache_clear()


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
def test_a_host_name_that_is_not_valid_is_said(host: str) -> None:
    with SyncAgentRuntimeClient() as client, pytest.raises(ConfigurationError, match="the host name is not valid"):
        client.attach(f"http://{host}").invoke("x")
