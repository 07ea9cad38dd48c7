"""Ports: remembered, free, and named with their taker when they are not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack.home import Home
from ops.stack.port_locks import PortLocks
from ops.stack.ports import Ports
from tapehouse.errors import StackError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_is_remembered(home: Home) -> None:
    first = Ports(home, {"nats": 0}).take("nats", 4222)
    assert Ports(home).take("nats", 4222) == first
    assert Ports(home, {"nats": 0}).take("nats", 4222) == first


def test_any_free_port_is_none_that_outgoing_connections_are_given(home: Home) -> None:
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = Ports(home, dict.fromkeys("abcdefgh", 0))
    chosen = [ports.take(name, 4222) for name in "abcdefgh"]
    assert len(set(chosen)) == 8
    assert max(chosen) < first_given


def test_a_taken_port_is_named_with_its_taker_and_the_next_free_one_used(home: Home, taken: int) -> None:
    ports = Ports(home)
    port = ports.take("nats", taken)
    assert taken < port < taken + 200
    assert f"port {taken} (nats) is taken by pid {os.getpid()}" in ports.notes["nats"]
    assert str(port) in ports.notes["nats"]
    assert Ports(home).take("nats", taken) == port


def test_a_taken_port_that_the_user_insists_on_is_refused(home: Home, taken: int) -> None:
    with pytest.raises(StackError, match=f"port {taken} .* is taken by pid {os.getpid()}") as refused:
        Ports(home, {"nats": taken}).take("nats", 4222)
    assert refused.value.remedy
    assert not (home.folder / "ports.json").exists()


def test_a_port_that_the_user_insists_on_wins_over_the_remembered_one(home: Home) -> None:
    Ports(home, {"nats": 0}).take("nats", 4222)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wanted = probe.getsockname()[1]
    assert Ports(home, {"nats": wanted}).take("nats", 4222) == wanted


def test_a_port_taken_on_every_address_is_taken(home: Home) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert Ports(home).take("nats", port) != port


def test_two_runs_that_start_at_once_never_get_the_same_port(home: Home, tmp_path: Path) -> None:
    chosen = Ports(home, {"a": 0}).take("a", 1)
    # Another run has not bound it yet, and this one is in a process of its own.
    code = f"""
from pathlib import Path
from ops.stack.home import Home
from ops.stack.ports import Ports
ports = Ports(Home(Path({str(tmp_path / "other")!r})))
print(ports.take("a", {chosen}), ports.notes["a"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    port, _, note = done.stdout.splitlines()[-1].partition(" ")
    assert int(port) > chosen
    assert note.startswith(f"port {chosen} (a) is taken by pid {os.getpid()}")


def test_a_port_of_a_run_that_has_ended_is_free(tmp_path: Path) -> None:
    chosen = Ports(Home(tmp_path / "first"), {"a": 0}).take("a", 1)
    assert Ports(Home(tmp_path / "second")).take("a", chosen) == chosen


def test_a_folder_of_locks_that_is_anothers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(StackError, match="expected a folder of this user"):
        PortLocks(tmp_path / "locks").take(4222)


def test_two_parts_never_get_the_same_port(home: Home) -> None:
    ports = Ports(home, {"a": 0})
    port = ports.take("a", 1)
    assert ports.take("b", port) != port
