"""Servers and a writer without a mirror: what a test runs of it, it starts itself. And both stores, read whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pytest

from analytics.mirror.jobs import MirrorReport, run_once, verify_once
from ops.stack.home import Home
from ops.stack.part import PartView, State
from ops.stack.phases import role_part, start_servers
from ops.stack.runner import Stack
from tapehouse.clock import DAY, parse_ns
from tapehouse.model import BARS, Kind
from tapehouse.settings import Settings, load
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader, frame
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stream.bus import Bus
from tests.ports import ANY_FREE_PORT
from tests.system.up import TAPEHOUSE
from tests.waiting import DEADLINE_S

_START_S, _STOP_S = 300, 60
ENV = {"TAPEHOUSE_MIRROR__LEASE_S": "2", "TAPEHOUSE_MIRROR__AT": "", "TAPEHOUSE_MIRROR__VERIFY_AT": ""}
_T = TypeVar("_T")


class Mirrored:
    """The stack runs in a thread with a loop of its own."""

    def __init__(self, home: Path) -> None:
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack")
        self._thread.start()
        # Each kill counts as the first: otherwise restarts would be delayed more and more.
        self.stack = Stack(Home(home), steady_s=0)
        self.home = home
        try:
            self._do(self._begin())
        except BaseException:
            self.stop()
            raise
        self.settings: Settings = load(home)

    async def _begin(self) -> None:
        await self.stack.__aenter__()
        await start_servers(self.stack, self.home, ANY_FREE_PORT)
        settings = load(self.home)
        for role, asked in (
            ("writer", {"TAPEHOUSE_WRITER__LEASE_S": "2", "TAPEHOUSE_WRITER__REPLAY_MARGIN_S": "5"}),
            ("mirror", {**ENV, "TAPEHOUSE_MIRROR__EVERY_S": "0.3", "TAPEHOUSE_MIRROR__SLICE_ROWS": "200"}),
        ):
            self.stack.add(role_part(role, settings, asked))
        await self.stack.start("writer")

    def stop(self) -> None:
        """Stop every part."""
        self._do(self.stack.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._runner.close()

    def start_part(self, name: str) -> None:
        """Start a part and wait until it is ready."""
        self._do(self.stack.start(name))

    def stop_part(self, name: str) -> None:
        """Stop a part."""
        self._do(self.stack.stop(name))

    def kill(self, name: str) -> None:
        """SIGKILL to the process that a part has now."""
        os.kill(self._until_ready(name, 0), signal.SIGKILL)

    def replaced(self, name: str, pid: int) -> None:
        """Wait until a part is ready in another process."""
        self._until_ready(name, pid)

    def pid(self, name: str) -> int:
        """The process of a part, once it is ready."""
        return self._until_ready(name, 0)

    def run(self, *words: str, status: int = 0, **env: str) -> str:
        """Run a command, expect its exit status, return what it said."""
        with self.started(*words, **env) as process:
            said, _ = process.communicate(timeout=300)
        assert process.returncode == status, f"{words}: {process.returncode}\n{said}"
        return str(said)

    def mirror(self) -> MirrorReport:
        """One run of the mirror that nothing goes wrong in."""
        run = self._do(self._with_bus(run_once))
        assert not run.failed, run.failed
        return run

    def verified(self) -> int:
        """Compare all days, expect all to be equal; how many there are."""
        verdict = self._do(self._with_bus(verify_once))
        assert not verdict.differing, verdict.differing
        assert not verdict.unknown, verdict.unknown
        return len(verdict.equal)

    async def _with_bus(self, work: Callable[[Settings, Bus], Awaitable[_T]]) -> _T:
        async with Bus.opened(self.settings, "mirror") as bus:
            return await work(self.settings, bus)

    def started(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        return subprocess.Popen(
            [TAPEHOUSE, *words],
            env={**os.environ, **ENV, "TAPEHOUSE_HOME": str(self.home), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def hot(self, kind: Kind, day: str) -> pl.DataFrame:
        """A day as QuestDB has it, in order of the key; read by its PostgreSQL wire, as the mirror does not."""
        start = parse_ns(day)
        return self._hot(kind, kind.name, start, start + DAY)

    def cold(self, kind: Kind, day: str) -> pl.DataFrame:
        """A day as ClickHouse has it, in order of the key."""
        return self._cold(kind, kind.name, day)

    def bars(self, day: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The 1-minute bars of a day by QuestDB's view and by ClickHouse's."""
        refresh_bar_views(self.settings.questdb, DEADLINE_S)
        start = parse_ns(day)
        return self._hot(BARS, "bars_1m", start, start + DAY), self._cold(BARS, "bars_1m", day)

    def ask_hot(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement of QuestDB's."""
        with QuestReader(self.settings.questdb) as reader:
            return reader.fetch(statement)

    def ask_cold(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement of ClickHouse's, run with mutations waited for."""
        client = ClickHouseClient(self.settings.clickhouse)
        try:
            return list(client.fetch(statement))
        finally:
            client.close()

    def tell_cold(self, statement: str) -> None:
        """Run a statement without rows in ClickHouse."""
        client = ClickHouseClient(self.settings.clickhouse)
        try:
            client.command(statement)
        finally:
            client.close()

    def staging(self) -> list[str]:
        """The staging tables there are."""
        found = self.ask_cold(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'staging_')"
        )
        return [name for (name,) in found]

    def _hot(self, kind: Kind, table: str, start: int, end: int) -> pl.DataFrame:
        columns = ", ".join(f"cast({c.name} AS long)" if c.type == "time" else c.name for c in kind.columns)
        with QuestReader(self.settings.questdb) as reader:
            reader.wait_applied(table)
            rows = reader.fetch(
                f"SELECT {columns} FROM {table} WHERE {kind.time} >= cast(%s AS timestamp_ns) "
                f"AND {kind.time} < cast(%s AS timestamp_ns)",
                [start, end],
            )
        return frame(kind.columns, rows).sort(kind.key)

    def _cold(self, kind: Kind, table: str, day: str) -> pl.DataFrame:
        client = ClickHouseClient(self.settings.clickhouse)
        try:
            body = client.arrow(
                f"SELECT {', '.join(kind.names)} FROM {table} WHERE toYYYYMMDD({kind.time}) = {day.replace('-', '')}"
            )
        finally:
            client.close()
        rows = pl.read_ipc_stream(body)
        empty = frame(kind.columns, [])
        return rows.cast(empty.schema).sort(kind.key) if rows.height else empty

    def _until_ready(self, name: str, besides: int) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            view = self._view(name)
            if view.pid and view.pid != besides and view.state is State.READY:
                return view.pid
            time.sleep(0.02)
        pytest.fail(f"waited in vain for {name} to be ready: {self._view(name)}")

    def _view(self, name: str) -> PartView:
        return next(view for view in self.stack.view() if view.name == name)

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)
