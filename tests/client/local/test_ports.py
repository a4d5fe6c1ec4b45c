"""Ports: the next free one, in turns, never one that somebody has."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ppio_agent_client.local import create
from ppio_agent_models import SandboxCreationError

from .support import Place, eventually


def choose(root: Path, used: set[int] | None = None) -> int:
    with create.reserve_port(str(root), used or set()) as reservation:
        return int(reservation.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_ports_are_below_those_of_outgoing_connections(tmp_path: Path) -> None:
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert 20000 <= choose(tmp_path) <= 31999 < lowest_ephemeral


def test_a_freed_port_is_not_given_again_soon(tmp_path: Path) -> None:
    given = [choose(tmp_path) for _ in range(100)]
    assert len(set(given)) == 100


def test_ports_come_round_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = choose(tmp_path)
    monkeypatch.setattr(create, "FIRST_PORT", port)
    monkeypatch.setattr(create, "LAST_PORT", port)
    assert [choose(tmp_path) for _ in range(3)] == [port] * 3


def test_a_used_port_is_passed_over(tmp_path: Path) -> None:
    port = choose(tmp_path)
    assert choose(tmp_path, {port + 1, port + 2}) not in (port, port + 1, port + 2)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_of_another_program_is_passed_over(tmp_path: Path, address: str) -> None:
    port = choose(tmp_path)
    with socket.create_server((address, port + 1)):
        assert choose(tmp_path) > port + 1


def test_homes_that_want_the_same_port_get_two(tmp_path: Path) -> None:
    with create.reserve_port(str(tmp_path), set()) as reservation:
        port = reservation.getsockname()[1]
        (tmp_path / "next-port").write_text(str(port - create.FIRST_PORT))
        assert choose(tmp_path) != port


def test_a_reserved_port_is_the_agent_s(tmp_path: Path) -> None:
    with create.reserve_port(str(tmp_path), set()) as reservation:
        address = reservation.getsockname()
        with socket.create_server(address), socket.create_connection(address):
            pass


@pytest.mark.contract
def test_the_port_is_held_for_an_agent_that_does_not_listen_yet_and_free_afterwards(place: Place) -> None:
    (place.template / "main.py").write_text("import signal\nsignal.pause()\n")
    sandbox = place.store.create(place.spec())
    port = int(sandbox.url.rpartition(":")[2])
    assert not is_free(port)
    place.store.kill(sandbox.sandbox_id)
    eventually(lambda: is_free(port))


def test_no_free_port_is_an_error_that_names_the_range(tmp_path: Path) -> None:
    with pytest.raises(SandboxCreationError, match="from 20000 to 31999"):
        choose(tmp_path, set(range(20000, 32000)))


def test_an_ending_sandbox_keeps_its_port(place: Place) -> None:
    sandbox = place.create()
    assert place.store._paths.used_ports() == {int(sandbox.url.rpartition(":")[2])}
