"""The three servers together: ready when they answer, on loopback alone, and whole again after any kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from ops.stack import view
from ops.stack.home import Home
from ops.stack.nats import GRANTS
from ops.stack.part import State
from ops.stack.ports import Ports
from ops.stack.request import basic
from ops.stack.runner import Stack
from ops.stack.servers import ports_from_settings, servers
from tapehouse.clock import now_ns
from tapehouse.identity import born
from tapehouse.settings import Settings, load

_NAMES = ("nats", "questdb", "clickhouse")
_FREE = dict.fromkeys(("nats", "questdb-http", "questdb-pg", "clickhouse", "gateway"), 0)
_RUN = """
import asyncio, json, pathlib, sys
from ops.stack.home import Home
from ops.stack.ports import Ports
from ops.stack.runner import Stack
from ops.stack.servers import servers

async def main():
    home = Home(pathlib.Path(sys.argv[1]))
    async with Stack(home) as stack:
        for part in servers(home, Ports(home, json.loads(sys.argv[2]))):
            stack.add(part)
        await stack.start("nats", "questdb", "clickhouse")
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Stores:
    """One number in each of the three stores."""

    settings: Settings

    async def write(self, number: int) -> None:
        async with self._jetstream() as js:
            try:
                await js.purge_stream("N")
            except NotFoundError:
                await js.add_stream(name="N", subjects=["n"])
            await js.publish("n", str(number).encode())
        await self._questdb(
            "CREATE TABLE IF NOT EXISTS n (ts TIMESTAMP, n INT) TIMESTAMP(ts) PARTITION BY DAY WAL"
        )
        await self._questdb(f"INSERT INTO n VALUES (now(), {number})")
        await self._clickhouse("CREATE TABLE IF NOT EXISTS default.n (n Int64) ENGINE = MergeTree ORDER BY n")
        await self._clickhouse(f"INSERT INTO default.n VALUES ({number})")

    async def read(self) -> tuple[int, int, int]:
        async with self._jetstream() as js:
            from_nats = int((await js.get_last_msg("N", "n")).data)
        await self._questdb("SELECT wait_wal_table('n')")
        [[from_questdb]] = await self._questdb("SELECT max(n) FROM n")
        return from_nats, from_questdb, int(await self._clickhouse("SELECT max(n) FROM default.n"))

    @contextlib.asynccontextmanager
    async def _jetstream(self) -> AsyncIterator[Any]:
        client = Client()
        password = self.settings.nats.passwords["admin"].get_secret_value()
        await client.connect(
            self.settings.nats.url, user="admin", password=password, inbox_prefix="_INBOX_admin"
        )
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def _questdb(self, statement: str) -> Any:
        settings = self.settings.questdb
        connection = await psycopg.AsyncConnection.connect(
            host=settings.host,
            port=settings.pg_port,
            user=settings.user,
            password=settings.password.get_secret_value(),
            dbname="qdb",
            autocommit=True,
        )
        async with connection:
            cursor = await connection.execute(statement)
            return await cursor.fetchall() if cursor.description else None

    async def _clickhouse(self, statement: str) -> str:
        settings = self.settings.clickhouse
        request = urllib.request.Request(
            f"http://{settings.host}:{settings.http_port}/",
            statement.encode(),
            basic(settings.user, settings.password.get_secret_value())
            | {"X-Gate": settings.gate.get_secret_value()},
        )

        def ask() -> str:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(ask)


@dataclass(frozen=True)
class Survivor:
    """A stack whose first runner was killed with all its servers running."""

    stack: Stack
    stores: Stores
    before: view.RunView
    """As it was seen right after the kill."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def survivor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Survivor]:
    folder = tmp_path_factory.mktemp("survivor") / "home"
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, str(folder), json.dumps(_FREE), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert runner.stdout
        async with asyncio.timeout(120):
            while (line := await runner.stdout.readline()) != b"ready\n":
                assert line, "the runner ended before it was ready"
        await Stores(load(folder)).write(17)
    finally:
        runner.kill()
        await runner.wait()
    before = view.read(folder)
    home = Home(folder)
    async with Stack(home) as stack:
        for part in servers(home, Ports(home)):
            stack.add(part)
        await stack.start(*_NAMES)
        yield Survivor(stack, Stores(load(folder)), before)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_killed_runner_left_is_seen_ended_and_replaced(survivor: Survivor) -> None:
    assert survivor.before.pid is None
    assert {part.state for part in survivor.before.parts} == {State.SILENT}
    for old, new in zip(survivor.before.parts, survivor.stack.view(), strict=True):
        assert (new.name, new.state, new.address, new.restarts) == (old.name, State.READY, old.address, 0)
        assert old.pid != new.pid
        assert born(old.pid or 0) is None
    assert await survivor.stores.read() == (17, 17, 17)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", _NAMES)
async def test_a_killed_server_is_ready_again_with_its_data(
    survivor: Survivor, name: str, until: Any
) -> None:
    stack, number = survivor.stack, 100 + _NAMES.index(name)
    await survivor.stores.write(number)
    part = _part(stack, name)
    assert part.pid
    os.kill(part.pid, signal.SIGKILL)
    await until(lambda: _part(stack, name).restarts > part.restarts, f"{name} to be restarted")
    await until(lambda: _part(stack, name).state is State.READY, f"{name} to be ready again")
    assert _part(stack, name).pid != part.pid
    assert await survivor.stores.read() == (number, number, number)


@pytest.mark.asyncio(loop_scope="module")
async def test_only_a_graceful_stop_of_questdb_is_remembered_as_clean(survivor: Survivor, until: Any) -> None:
    stack = survivor.stack
    marker = stack.home.folder / "questdb.clean"
    assert not stack.questdb_was_clean
    unclean_ns = stack.questdb_unclean_ns
    assert 0 < unclean_ns < now_ns()
    assert not marker.exists()
    await stack.stop("questdb")
    assert marker.exists()
    await stack.start("questdb")
    assert stack.questdb_was_clean
    assert stack.questdb_unclean_ns == unclean_ns
    assert not marker.exists()
    seen = view.read(stack.home.folder)
    assert (seen.pid, seen.questdb_was_clean, seen.questdb_unclean_ns) == (os.getpid(), True, unclean_ns)


def test_all_are_ready_and_listen_on_loopback_alone(platform: Any) -> None:
    settings = platform.settings
    listening = {}
    for part in view.read(platform.home.folder).parts:
        assert part.state is State.READY
        assert part.pid
        listening[part.name] = _listening(part.pid)
    assert listening == {
        "nats": {("127.0.0.1", int(settings.nats.url.rpartition(":")[2]))},
        "questdb": {("127.0.0.1", settings.questdb.http_port), ("127.0.0.1", settings.questdb.pg_port)},
        "clickhouse": {("127.0.0.1", settings.clickhouse.http_port)},
    }


def test_no_file_of_the_home_is_for_others(platform: Any) -> None:
    folder = platform.home.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # Under data/ each server sets modes of its own; the folders above them are closed.
    for path in [*folder.glob("*"), *folder.glob("[!d]*/**/*"), *folder.glob("data/*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_password_is_in_a_log_or_on_a_command_line(platform: Any) -> None:
    folder = platform.home.folder
    secrets = [path.read_text() for path in (folder / "secrets").iterdir()]
    logs = "".join(path.read_text(errors="replace") for path in (folder / "logs").iterdir())
    commands = "".join(
        Path(f"/proc/{part.pid}/cmdline").read_text() for part in view.read(folder).parts if part.pid
    )
    assert len(secrets) == len(set(secrets)) == len(GRANTS) + 5
    for secret in secrets:
        assert secret not in logs
        assert secret not in commands


def test_the_settings_hold_every_connection(platform: Any) -> None:
    settings = platform.settings
    assert set(settings.nats.passwords) == set(GRANTS)
    assert settings.questdb.reader != settings.questdb.user
    assert settings.clickhouse.gate.get_secret_value()
    assert settings.gateway.url == f"http://127.0.0.1:{settings.gateway.port}"


def test_ports_that_the_users_own_settings_name_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ports_from_settings() == {}
    (tmp_path / "tapehouse.toml").write_text("[questdb]\nhttp_port = 9100\n")
    monkeypatch.setenv("TAPEHOUSE_NATS__URL", "nats://127.0.0.1:4333")
    monkeypatch.setenv("TAPEHOUSE_GATEWAY__PORT", "8100")
    assert ports_from_settings() == {"questdb-http": 9100, "nats": 4333, "gateway": 8100}


def _part(stack: Stack, name: str) -> Any:
    return next(part for part in stack.view() if part.name == name)


def _listening(pid: int) -> set[tuple[str, int]]:
    """The addresses on which a process listens."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(str(fd.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                family = socket.AF_INET if len(address) == 8 else socket.AF_INET6
                # The kernel prints words of the machine's own byte order.
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found
