"""The connection to NATS, the shared state, and words of subjects."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import KeyWrongLastSequenceError
from pydantic import SecretStr

from tapehouse.errors import ConnectError
from tapehouse.settings import Nats, Settings
from tapehouse.stream.bus import Bus, State, server_version, word
from tests.batches import NAMES
from tests.broker import Broker
from tests.conftest import Platform
from tests.waiting import assert_cancelled_at_any_moment

_DEADLINE_S = 30


@pytest.fixture
async def state(provisioned: Platform) -> AsyncIterator[State]:
    bus = await Bus.connect(provisioned.settings, "admin")
    yield await bus.shared_state()
    await bus.close()


def _with(settings: Settings, **nats: Any) -> Settings:
    return settings.model_copy(update={"nats": Nats(**{**settings.nats.model_dump(), **nats})})


@given(st.text(), st.text())
def test_different_texts_are_different_words(one: str, other: str) -> None:
    assert (word(one) == word(other)) == (one == other)
    assert unquote(word(one).replace("=", "%")) == one
    assert re.fullmatch("[-_=A-Za-z0-9]*", word(one))


async def test_any_name_is_a_key(state: State, venue: str) -> None:
    for index, name in enumerate(NAMES):
        await state.put(f"numbering.{word(venue)}.{word(name)}", index)
    for index, name in enumerate(NAMES):
        assert await state.get(f"numbering.{word(venue)}.{word(name)}") == index


@pytest.mark.parametrize("role", ["admin", "feed", "writer", "monitor"])
async def test_a_role_connects_as_its_user(platform: Platform, role: str) -> None:
    bus = await Bus.connect(platform.settings, role)
    assert bus.connected
    assert await server_version(bus.client) >= (2, 14)
    await bus.until_connected()
    await bus.close()
    assert not bus.connected


async def test_a_wrong_password_is_said_at_once(platform: Platform) -> None:
    settings = _with(platform.settings, passwords={"feed": SecretStr("wrong")})
    with pytest.raises(ConnectError, match="rejected the password of feed") as refusal:
        await Bus.connect(settings, "feed", _DEADLINE_S)
    assert str(settings.home) in refusal.value.remedy
    assert "wrong" not in str(refusal.value)
    with pytest.raises(ConnectError, match="requires a password, and writer has none"):
        await Bus.connect(settings, "writer", _DEADLINE_S)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_nobody_there_is_said_with_the_way_out(platform: Platform) -> None:
    settings = _with(platform.settings, url="nats://127.0.0.1:1")
    with pytest.raises(ConnectError, match=r"no answer from nats://127\.0\.0\.1:1 within 0\.3 s") as refusal:
        await Bus.connect(settings, "feed", 0.3)
    assert "tapehouse up" in refusal.value.remedy
    assert refusal.value.fields == {"url": "nats://127.0.0.1:1"}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connecting_that_is_cancelled_leaves_nothing_behind(platform: Platform) -> None:
    settings = _with(platform.settings, url="nats://127.0.0.1:1")
    connecting = asyncio.create_task(Bus.connect(settings, "feed", _DEADLINE_S))
    await asyncio.sleep(0.05)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_that_asks_can_be_cancelled_at_any_moment(state: State, venue: str) -> None:
    async def ask() -> None:
        while True:
            await state.put(f"checkpoint.{venue}", await state.get(f"checkpoint.{venue}"))

    await assert_cancelled_at_any_moment(ask, times=200, begun_s=0.0005, steps=20, within_s=_DEADLINE_S)


async def test_a_lost_connection_is_found_again_and_told(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "admin", _DEADLINE_S)
    found = asyncio.Event()
    bus.on_reconnect.append(found.set)
    state = await bus.shared_state()
    await state.put("checkpoint.a", 1)
    for number in (1, 2):
        found.clear()
        await broker.kill()
        waiting = asyncio.create_task(bus.until_connected())
        await broker.start()
        async with asyncio.timeout(_DEADLINE_S):
            await found.wait()
            await waiting
        assert await state.get("checkpoint.a") == number
        await state.put("checkpoint.a", number + 1)
    await bus.close()


async def test_what_was_asked_on_a_connection_that_is_lost_is_not_waited_for(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "admin")
    assert broker.process
    broker.process.send_signal(signal.SIGSTOP)
    asking = asyncio.create_task(bus.client.request("$JS.API.INFO", timeout=3600))
    await asyncio.sleep(0)
    await broker.kill()
    async with asyncio.timeout(_DEADLINE_S):
        with pytest.raises(NatsTimeoutError):
            await asking
    await bus.close()


async def test_a_connection_to_a_server_that_takes_nothing_is_closed_in_time(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "admin")
    assert broker.process
    broker.process.send_signal(signal.SIGSTOP)
    for _ in range(32):
        await bus.client.publish("health.feed.x", bytes(2**19))
    async with asyncio.timeout(_DEADLINE_S):
        await bus.close()
    assert bus.client.is_closed


async def test_the_connection_counts_as_lost_from_when_the_client_refuses_to_send(platform: Platform) -> None:
    bus = await Bus.connect(platform.settings, "admin")
    # As it stands until the socket is closed, and for a moment longer.
    bus.client._status = Client.RECONNECTING
    with pytest.raises(OutboundBufferLimitError):
        await bus.client.publish("health.feed.x")
    assert not bus.connected
    waiting = asyncio.create_task(bus.until_connected())
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.client._status = Client.CONNECTED
    await bus._on_reconnected()
    await waiting
    await bus.close()


async def test_who_waits_for_a_connection_that_is_closed_is_told(platform: Platform) -> None:
    bus = await Bus.connect(platform.settings, "admin")
    bus.client._status = Client.RECONNECTING
    waiting = asyncio.create_task(bus.until_connected())
    await asyncio.sleep(0)
    await bus.close()
    with pytest.raises(ConnectError, match="the connection of admin is closed"):
        await waiting
    with pytest.raises(ConnectError, match="the connection of admin is closed"):
        await bus.until_connected()
    assert not bus.connected


@pytest.mark.parametrize("value", [0, "text", "☃", [1, [2]], {"a": None}, None, True, 2**62, 0.1, ""])
async def test_a_value_is_read_as_it_was_put(state: State, venue: str, value: object) -> None:
    key = f"checkpoint.{venue}"
    assert await state.get(key) is None
    assert await state.get_revised(key) == (None, 0)
    revision = await state.put(key, value)
    assert await state.get_revised(key) == (value, revision)


async def test_a_value_is_replaced_only_where_it_is_still_the_one_seen(state: State, venue: str) -> None:
    key = f"lease.{venue}"
    first = await state.replace(key, "a", 0)
    with pytest.raises(KeyWrongLastSequenceError):
        await state.replace(key, "b", 0)
    second = await state.replace(key, "b", first)
    with pytest.raises(KeyWrongLastSequenceError):
        await state.replace(key, "c", first)
    assert await state.get_revised(key) == ("b", second)
    assert second > first


async def test_a_deleted_key_can_be_made_again(state: State, venue: str) -> None:
    key = f"lease.{venue}"
    await state.put(key, "a")
    await state.delete(key)
    value, revision = await state.get_revised(key)
    assert value is None
    await state.replace(key, "b", revision)
    assert await state.get(key) == "b"


async def test_of_those_who_replace_at_once_one_wins_and_no_change_is_lost(
    state: State, venue: str, provisioned: Platform
) -> None:
    key = f"lease.{venue}"
    rounds, racers = 10, 4
    buses = [await Bus.connect(provisioned.settings, "admin") for _ in range(racers)]
    lost = 0

    async def race(bus: Bus, name: int) -> None:
        nonlocal lost
        own = await bus.shared_state()
        done = 0
        while done < rounds:
            seen, revision = await own.get_revised(key)
            try:
                await own.replace(key, [*(seen or []), name], revision)
            except KeyWrongLastSequenceError:
                lost += 1
            else:
                done += 1

    async with asyncio.timeout(_DEADLINE_S):
        await asyncio.gather(*(race(bus, name) for name, bus in enumerate(buses)))
    history = await state.get(key)
    assert sorted(history) == sorted(list(range(racers)) * rounds)
    assert lost > 0
    for bus in buses:
        await bus.close()
