"""Fixtures of several files; and properties are checked however slow the machine is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.runtime.replicas import Replicas
from tests.support.redis_server import Redis, redis_server

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def store_url(redis: Redis) -> str:
    return f"{redis.uri}?prefix=test"


@pytest.fixture
def replicas(tmp_path: Path, store_url: str) -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(tmp_path, store_url, stack)
