"""`/metrics` of several workers on one machine: real workers of uvicorn, and one sum whoever is scraped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.durable import finished, submit
from tests.support.gates import eventually
from tests.support.processes import environment, run_to_the_end
from tests.support.raw_http import Connection, get, invoke
from tests.support.redis_server import needs_redis_server, redis_server
from tests.support.replicas import free_port

pytestmark = pytest.mark.contract

AGENT = """
import asyncio, os
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def agent(payload):
    if payload.get("fail"):
        raise ValueError("no")
    if payload.get("wait"):
        await asyncio.Future()
    return os.getpid()
"""


@contextmanager
def workers(folder: Path, count: int = 2, **variables: str) -> Iterator[str]:
    """Serve `AGENT` by this many workers of uvicorn."""
    (folder / "main.py").write_text(AGENT)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), "--workers", str(count)],
        cwd=folder,
        env=environment(**variables) | {"PYTHONWARNINGS": "default"},  # of uvicorn
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: is_up(url), "a worker is up")
        yield url
    finally:
        process.terminate()
        process.wait(60)


def is_up(url: str) -> bool:
    try:
        return get(url, "/ping").status == 200
    except OSError:
        return False


def call_until_all_have_answered(url: str, count: int) -> dict[int, int]:
    """Call until each worker has answered, and return the number of its answers by its process id."""
    answered: dict[int, int] = defaultdict(int)

    def is_so() -> bool:
        answered[invoke(url, {}).json["result"]] += 1
        return len(answered) == count

    eventually(is_so, "each worker has answered")
    return answered


def scrape(url: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for family in parse_text(get(url, "/metrics").body.decode()):
        for sample in family.samples:
            words = [sample.labels[label] for label in ("mode", "outcome", "reason") if label in sample.labels]
            found[" ".join([sample.name.removeprefix("ppio_agent_"), *words])] += sample.value
    return found


@pytest.mark.slow
def test_each_worker_tells_the_sum_of_all(tmp_path: Path) -> None:
    with workers(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics")) as url:
        answered = call_until_all_have_answered(url, 2)
        failed = [invoke(url, {"fail": True}).status for _ in range(4)]
        refused = [invoke(url, [1]).status for _ in range(3)]
        eventually(lambda: scrape(url)["rejected_total payload_validation"] == 3, "the last answer is counted")
        scrapes = [scrape(url) for _ in range(8)]
    assert (set(failed), set(refused)) == ({500}, {422})
    for found in scrapes:
        assert found["invocations_total json success"] == sum(answered.values())
        assert found["invocations_total json error"] == 4
        assert found["invocation_duration_seconds_count json"] == sum(answered.values()) + 4
        assert found["rejected_total payload_validation"] == 3
        assert found["invocations_in_flight"] == 0
        assert found["runtime_info"] == 1


@pytest.mark.slow
def test_what_a_killed_worker_had_in_flight_is_no_longer_shown_but_what_it_counted_is(tmp_path: Path) -> None:
    with workers(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics")) as url:
        answered = call_until_all_have_answered(url, 2)
        with Connection(url) as connection:
            connection.post({"wait": True})
            eventually(lambda: scrape(url)["invocations_in_flight"] == 1, "it is in flight")
            for pid in answered:
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: is_up(url), "uvicorn has started others")
        found = scrape(url)
    assert found["invocations_in_flight"] == 0
    assert found["invocations_total json success"] == sum(answered.values())


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=needs_redis_server)])
@pytest.mark.slow
def test_workers_with_one_store_find_what_any_of_them_has_begun(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    with ExitStack() as stack:
        store = "sqlite:///events.db" if kind == "sqlite" else stack.enter_context(redis_server(tmp_path)).uri
        url = stack.enter_context(workers(tmp_path, PPIO_AGENT_EVENT_STORE=store))
        call_until_all_have_answered(url, 2)
        for number in range(12):
            key = {"Idempotency-Key": f"order-{number}"}
            path = submit(url, {"number": number}, key)
            found = [finished(url, path)["response"]["result"] for _ in range(6)]
            assert len(set(found)) == 1, "each worker tells of the one run"
            assert submit(url, {"number": number}, key) == path
    assert "This is one of" not in capfd.readouterr().err


def test_workers_that_are_not_asked_to_count_for_themselves(tmp_path: Path) -> None:
    with workers(tmp_path) as url:
        answered = call_until_all_have_answered(url, 2)
        totals: set[float] = set()

        def is_so() -> bool:
            totals.add(scrape(url)["invocations_total json success"])
            return totals >= set(answered.values())

        eventually(is_so, "each worker was scraped")
    assert max(totals) < sum(answered.values())


@pytest.mark.parametrize(
    ("options", "variables", "workers"),
    [
        (["--workers", "4"], {}, 4),
        (["--workers=3"], {}, 3),
        (["-w", "2"], {}, 2),
        (["-w5"], {}, 5),
        ([], {"WEB_CONCURRENCY": "6"}, 6),
        (["--workers", "1"], {"WEB_CONCURRENCY": "6"}, 1),
        (["--workers"], {}, 1),
        ([], {"WEB_CONCURRENCY": "many"}, 1),
        ([], {}, 1),
    ],
)
def test_how_many_workers_there_are(options: list[str], variables: dict[str, str], workers: int) -> None:
    program = "from ppio_agent_runtime.lifespan import known_workers; print(known_workers())"
    found = run_to_the_end("-c", program, "main:app", *options, variables=variables)
    assert found.stdout == f"{workers}\n"


@pytest.mark.parametrize(("count", "is_told"), [(2, True), (1, False)])
def test_several_workers_are_told_that_they_share_no_durable_invocations(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], count: int, is_told: bool
) -> None:
    with workers(tmp_path, count):
        pass
    assert ("This is one of 2 workers" in capfd.readouterr().err) == is_told


@pytest.mark.parametrize("place", ["a-file", "no-rights"])
def test_a_directory_that_cannot_be_one_is_told_at_start(tmp_path: Path, place: str) -> None:
    (tmp_path / "main.py").write_text(AGENT)
    (tmp_path / "a-file").write_text("")
    if place == "no-rights":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        (tmp_path / "no-rights").mkdir(0o500)
    told = run_to_the_end(
        "-m",
        "ppio_agent_runtime",
        "main.py",
        folder=tmp_path,
        variables={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / place)},
    )
    assert told.returncode != 0
    assert re.search(rf"PROMETHEUS_MULTIPROC_DIR is \S*{place}", told.stderr)
    assert "Traceback" not in told.stderr
