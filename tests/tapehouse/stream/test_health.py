"""What roles say of themselves, and who hears it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from tapehouse.clock import SECOND, now_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health, heartbeat
from tests.broker import Broker
from tests.conftest import Platform

_DEADLINE_S = 30


class Ear:
    """Hears the reports of one role."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(self, subject: str) -> None:
        await self._bus.client.subscribe(subject, cb=self._hear)
        await self._bus.client.flush()

    async def _hear(self, message: Msg) -> None:
        self._heard.put_nowait({"subject": message.subject, **json.loads(message.data)})

    async def until(self, **wanted: object) -> dict[str, Any]:
        """The next report that says so."""
        last: dict[str, Any] = {}
        try:
            async with asyncio.timeout(_DEADLINE_S):
                while last.items() & wanted.items() != wanted.items():
                    last = await self._heard.get()
        except TimeoutError:
            pytest.fail(f"waited in vain for {wanted}, heard last {last}")
        return last


@pytest.fixture
async def ear(platform: Platform) -> AsyncIterator[Ear]:
    bus = await Bus.connect(platform.settings, "monitor")
    yield Ear(bus)
    await bus.close()


@pytest.fixture
async def writer(platform: Platform) -> AsyncIterator[Bus]:
    bus = await Bus.connect(platform.settings, "writer")
    yield bus
    await bus.close()


async def test_a_role_says_its_state_each_time_it_changes(ear: Ear, writer: Bus, venue: str) -> None:
    health = Health("writer", venue)
    await ear.listen(f"health.writer.{venue}")
    telling = asyncio.create_task(health.run(writer))
    first = await ear.until(state="starting")
    assert first == {
        "subject": f"health.writer.{venue}",
        "role": "writer",
        "instance": venue,
        "pid": os.getpid(),
        "state": "starting",
        "detail": "",
        "rows": 0,
        "rows_s": 0.0,
        "lag_ms": None,
        "quarantined": 0,
        "skew_ms": None,
        "gaps": 0,
    }
    health.waiting("for the lease")
    await ear.until(state="waiting", detail="for the lease")
    health.ready("at work")
    await ear.until(state="ready", detail="at work")
    health.ready()
    await ear.until(state="ready", detail="")
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_a_role_says_what_it_did_with_every_report(ear: Ear, writer: Bus, venue: str) -> None:
    health = Health("writer", venue)
    health.ready()
    assert not health.moved()
    health.wrote(3, now_ns() - 2 * SECOND, 1)
    assert health.moved()
    assert not health.moved()
    await ear.listen(f"health.writer.{venue}")
    telling = asyncio.create_task(health.run(writer))
    said = await ear.until(rows=3, quarantined=1)
    assert said["lag_ms"] >= 2000
    health.wrote(4, now_ns(), 1)
    said = await ear.until(rows=7)
    assert said["rows_s"] > 0
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_an_instance_of_any_name_is_one_word(ear: Ear, writer: Bus, venue: str) -> None:
    health = Health("writer", f"{venue}.a b")
    await ear.listen(f"health.writer.{venue}=2Ea=20b")
    telling = asyncio.create_task(health.run(writer))
    assert (await ear.until(state="starting"))["instance"] == f"{venue}.a b"
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_telling_ends_with_the_work_and_its_error_is_the_works(writer: Bus) -> None:
    async def work(error: Exception | None) -> None:
        await asyncio.sleep(0)
        if error:
            raise error

    health = Health("writer")
    await health.alongside(writer, work(None))
    before = len(asyncio.all_tasks())
    with pytest.raises(TapehouseError, match="broken"):
        await health.alongside(writer, work(TapehouseError("broken")))
    assert len(asyncio.all_tasks()) == before
    endless = asyncio.create_task(health.alongside(writer, asyncio.Event().wait()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    assert len(asyncio.all_tasks()) == before


async def test_a_role_that_is_ready_is_heard(platform: Platform, writer: Bus) -> None:
    health = Health("writer", "heard")
    health.ready("at work")
    telling = asyncio.create_task(health.run(writer))
    said = await heartbeat(platform.settings, "writer", _DEADLINE_S)
    assert (said["state"], said["instance"]) == ("ready", "heard")
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_a_role_that_waits_is_told_with_its_reason(platform: Platform, writer: Bus) -> None:
    health = Health("writer", "late")
    health.waiting("for the lease")
    telling = asyncio.create_task(health.run(writer))
    with pytest.raises(ConnectError, match=r"within 1\.5 s, last report was waiting for the lease"):
        await heartbeat(platform.settings, "writer", 1.5)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_a_role_that_says_nothing_is_told(platform: Platform) -> None:
    with pytest.raises(ConnectError, match=r"feed: expected .* within 0\.2 s, last report was none"):
        await heartbeat(platform.settings, "feed", 0.2)


async def test_telling_goes_on_after_the_broker_was_killed(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "writer")
    health = Health("writer")
    health.ready()
    telling = asyncio.create_task(health.run(bus))
    await heartbeat(broker.settings, "writer", _DEADLINE_S)
    await broker.kill()
    health.wrote(1, now_ns(), 0)
    await broker.start()
    said = await heartbeat(broker.settings, "writer", _DEADLINE_S)
    assert said["rows"] == 1
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await bus.close()


async def test_telling_ends_with_the_connection(platform: Platform) -> None:
    bus = await Bus.connect(platform.settings, "writer")
    telling = asyncio.create_task(Health("writer", "closed").run(bus))
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(ConnectError, match="the connection of writer is closed"):
        async with asyncio.timeout(_DEADLINE_S):
            await telling
