"""One running stack for all tests that ask for it: real servers on free ports of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import tapehouse
from ops.stack.home import Home
from ops.stack.ports import Ports
from ops.stack.questdb import JAVA_OPTIONS
from ops.stack.runner import Stack
from ops.stack.servers import servers
from tapehouse.errors import HomeInUseError
from tapehouse.settings import ClickHouse, Settings, load
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_schema import ClickHouseMigrations
from tapehouse.stores.migrations import QuestDBMigrations, migrate, migrations
from tapehouse.stream.bus import Bus
from tapehouse.stream.topology import provision
from tests.broker import Broker
from tests.distribution import SharedPlatforms, platform_of
from tests.market_data import DATA
from tests.ports import ANY_FREE_PORT
from tests.system.up import Up
from tests.timescale.server import SERVERS, TimescaleServer, serving

_HOMES = Path(tempfile.gettempdir()) / f"tapehouse-tests-{os.getuid()}"
_START_S, _STOP_S = 300, 60
# A server of a test does not live long enough for the second compiler to pay.
os.environ.setdefault(JAVA_OPTIONS, "-XX:TieredStopAtLevel=1")
# On a busy machine an example may take any time.
hypothesis.settings.register_profile("tapehouse", deadline=None)
hypothesis.settings.load_profile("tapehouse")


_PLATFORMS = {"up": "up", "mirrored": "mirrored", "handing": "mirrored", "browsed": "browsed"}
"""Fixture of a platform -> the files that may use it, as `platform_of` names them."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Used where tests run in several processes."""
    return SharedPlatforms(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole system first, whose tests take longest: one of them begun last would be waited for."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/system/"))
    for item in items:
        file = item.nodeid.partition("::")[0]
        for fixture, files in _PLATFORMS.items():
            if fixture in getattr(item, "fixturenames", ()) and platform_of(file) != files:
                raise pytest.UsageError(f"{file} uses `{fixture}`: name it in tests/distribution.py")


@dataclass(frozen=True)
class Platform:
    """The servers of the session: NATS, QuestDB and ClickHouse, ready."""

    settings: Settings
    home: Home


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the test, in which and above which no platform is."""
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("TAPEHOUSE_HOME", "TAPEHOUSE_CONFIG", "TAPEHOUSE_GATEWAY__URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """Started when the first test asks, stopped after the last; runs in a thread with a loop of its own."""
    _HOMES.mkdir(mode=0o700, exist_ok=True)
    with asyncio.Runner() as runner:
        runner.run(_clear_killed_sessions())
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="stack")
        thread.start()
        home = Home(Path(tempfile.mkdtemp(dir=_HOMES)))
        stack = Stack(home)
        try:
            asyncio.run_coroutine_threadsafe(_start(stack), loop).result(_START_S)
            yield Platform(load(home.folder), home)
        finally:
            asyncio.run_coroutine_threadsafe(stack.__aexit__(), loop).result(_STOP_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
    shutil.rmtree(home.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def provisioned(platform: Platform) -> Platform:
    """The platform with its streams and tables."""
    asyncio.run(_provision(platform.settings))
    ledger = QuestDBMigrations(platform.settings.questdb)
    migrate(ledger, migrations("questdb"))
    ledger.close()
    return platform


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`tapehouse up` with the simulated venue, once it has ticks and rankings: for notebooks and examples."""
    few = {"TAPEHOUSE_SIMULATOR__SYMBOLS": "5", "TAPEHOUSE_SIMULATOR__RATE": "100"}
    platform = Up(tmp_path_factory.mktemp("simulated") / "home", "sim", **few)
    try:
        with tapehouse.connect(home=platform.home) as db:
            platform.until(
                lambda: (
                    not db.rankings().is_empty() and {*db.catalog()["kind"]} >= {"trades", "quotes", "depth"}
                ),
                "ticks in the store and rankings",
                60,
            )
        yield platform
    finally:
        platform.stop()


@pytest.fixture
def cold(platform: Platform, venue: str) -> Iterator[ClickHouse]:
    """A database of the test's own in ClickHouse, with its tables."""
    with _cold_store(platform.settings.clickhouse, venue) as settings:
        yield settings


@pytest.fixture(scope="module")
def shared_cold(platform: Platform) -> Iterator[ClickHouse]:
    """A database for all tests of a file, with its tables."""
    with _cold_store(platform.settings.clickhouse, f"M{secrets.token_hex(4)}") as settings:
        yield settings


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A NATS server of the test's own, with the streams."""
    async with Broker(tmp_path / "broker") as broker:
        await broker.provision()
        yield broker


@pytest.fixture(scope="module", params=SERVERS)
def timescale(request: pytest.FixtureRequest) -> Iterator[TimescaleServer]:
    """An empty database of TimescaleDB for the tests of a file: of each server that there is, in turn."""
    with serving(request.param) as server:
        yield server


@pytest.fixture
def venue() -> str:
    """A venue of this test alone: what it writes to the shared stores under it, no other test sees."""
    return f"T{secrets.token_hex(4).upper()}"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real market data; skips where it is not on this machine."""
    if not DATA.is_dir():
        pytest.skip(f"no market data at {DATA}")
    return DATA


@contextlib.contextmanager
def _cold_store(of: ClickHouse, name: str) -> Iterator[ClickHouse]:
    settings = of.model_copy(update={"database": f"cold_{name.lower()}"})
    ledger = ClickHouseMigrations(settings)
    try:
        migrate(ledger, migrations("clickhouse"))
        yield settings
    finally:
        ledger.close()
        client = ClickHouseClient(of, database="default")
        client.command(f"DROP DATABASE IF EXISTS {settings.database} SYNC")
        client.close()


async def _provision(settings: Settings) -> None:
    bus = await Bus.connect(settings, "admin")
    try:
        await provision(bus, settings)
    finally:
        await bus.close()


async def _start(stack: Stack) -> None:
    await stack.__aenter__()
    parts = servers(stack.home, Ports(stack.home, ANY_FREE_PORT))
    for part in parts:
        stack.add(part)
    await stack.start(*(part.name for part in parts))


async def _clear_killed_sessions() -> None:
    """A session that was killed could not stop its servers: entering its home ends them."""
    # Without a run.json it may be one that another session has made but not taken yet.
    for folder in [run_file.parent for run_file in _HOMES.glob("*/run.json")]:
        with contextlib.suppress(HomeInUseError):
            async with Stack(Home(folder)):
                pass
            shutil.rmtree(folder, ignore_errors=True)
