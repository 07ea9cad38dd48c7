"""NATS as a part: each user can do its work, and nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, KeyValueConfig, StreamConfig

from ops.stack import nats as part_of
from ops.stack.home import Home
from ops.stack.part import State
from ops.stack.ports import Ports
from ops.stack.runner import Stack
from tapehouse.errors import StackError

Login = Callable[..., Awaitable[tuple[Client, list[str]]]]


@pytest.fixture
async def login(home: Home) -> AsyncIterator[Login]:
    """Logs in as a user of a NATS of this test's own that holds one tick; later errors are listed."""
    clients: list[Client] = []

    async def connect(user: str, password: str | None = None) -> tuple[Client, list[str]]:
        faults: list[str] = []

        async def fault(reason: Exception) -> None:
            faults.append(str(reason))

        client = Client()
        # nats-py leaves the socket of a refused connection open until it is told to close.
        clients.append(client)
        await client.connect(
            url,
            user=user,
            password=password or part_of.password(home, user),
            inbox_prefix=part_of.inbox(user),
            error_cb=fault,
            allow_reconnect=False,
        )
        return client, faults

    async with _running(home) as url:
        admin, _ = await connect("admin")
        js = admin.jetstream()
        for name, subject in (("TICKS", "ticks.*.*.*"), ("QUARANTINE", "quarantine.>"), ("LATE", "late.>")):
            await js.add_stream(StreamConfig(name=name, subjects=[subject], allow_direct=True))
        await js.create_key_value(KeyValueConfig(bucket="state", direct=True))
        await js.add_consumer("TICKS", ConsumerConfig(durable_name="writer_0", ack_policy=AckPolicy.ALL))
        await js.publish("ticks.trades.T.0", b"one")
        await js.publish("quarantine.trades.T.1", b"bad")
        yield connect
        for client in clients:
            await client.close()


@asynccontextmanager
async def _running(home: Home) -> AsyncIterator[str]:
    async with Stack(home) as stack:
        stack.add(part_of.part(home, Ports(home, {"nats": 0})))
        await stack.start("nats")
        [seen] = stack.view()
        yield seen.address


async def _may_not_publish(client: Client, faults: list[str], subject: str, until: Any) -> None:
    faults.clear()
    await client.publish(subject, b"")
    await client.flush()
    await until(lambda: bool(faults), f"a refusal to publish to {subject}")
    assert f'permissions violation for publish to "{subject.lower()}"' in faults[0].lower()


async def _may_not_subscribe(client: Client, faults: list[str], subject: str, until: Any) -> None:
    faults.clear()
    await client.subscribe(subject)
    await client.flush()
    await until(lambda: bool(faults), f"a refusal to subscribe to {subject}")
    assert f'permissions violation for subscription to "{subject.lower()}"' in faults[0].lower()


async def test_a_feed_can_publish_and_keep_its_place(login: Login) -> None:
    client, faults = await login("feed")
    js = client.jetstream()
    assert (await js.publish("ticks.trades.T.0", b"two")).seq == 2
    assert (await js.publish("quarantine.trades.T.1", b"bad")).seq == 2
    state = await js.key_value("state")
    await state.put("checkpoint.T", b"17")
    await state.put("numbering.trades.T", b"id")
    assert (await state.get("checkpoint.T")).value == b"17"
    assert (await js.stream_info("TICKS")).state.messages == 2
    assert (await js.get_last_msg("TICKS", "ticks.trades.T.0", direct=True)).data == b"two"
    await client.publish("health.feed.0", b"{}")
    await client.flush()
    assert faults == []


async def test_a_feed_cannot_read_ticks_or_create_or_delete(login: Login, until: Any) -> None:
    client, faults = await login("feed")
    for subject in ("ticks.>", ">", "health.>", "$KV.state.>", "_INBOX_writer.>", "_INBOX.>"):
        await _may_not_subscribe(client, faults, subject, until)
    for subject in (
        "$JS.API.STREAM.CREATE.MORE",
        "$JS.API.STREAM.DELETE.TICKS",
        "$JS.API.STREAM.PURGE.TICKS",
        "$JS.API.CONSUMER.CREATE.TICKS",
        "$JS.API.CONSUMER.MSG.NEXT.TICKS.writer_0",
        "$KV.state.floor.0",
        "health.writer.0",
    ):
        await _may_not_publish(client, faults, subject, until)


async def test_a_writer_can_read_acknowledge_reset_and_purge(login: Login) -> None:
    client, faults = await login("writer")
    js = client.jetstream()
    await js.reset_consumer("TICKS", "writer_0")
    pull = await js.pull_subscribe_bind("writer_0", "TICKS")
    [message] = await pull.fetch(1, timeout=10)
    assert message.data == b"one"
    await message.ack_sync()
    assert (await js.consumer_info("TICKS", "writer_0")).ack_floor.stream_seq == 1
    assert [found.name for found in await js.consumers_info("TICKS")] == ["writer_0"]
    await js.purge_stream("TICKS", seq=2)
    state = await js.key_value("state")
    for key in ("mark.trades.2024-08-09.0", "floor.0", "sealed.0", "lease.writer.0"):
        await state.put(key, b"1")
        assert (await state.get(key)).value == b"1"
    await js.publish("quarantine.trades.T.1", b"bad")
    assert (await js.publish("late.trades.0", b"old")).stream == "LATE"
    await client.publish("health.writer.0", b"{}")
    await client.flush()
    assert faults == []


async def test_a_writer_cannot_publish_ticks_or_change_streams(login: Login, until: Any) -> None:
    client, faults = await login("writer")
    for subject in (
        "ticks.trades.T.0",
        "$JS.API.STREAM.CREATE.MORE",
        "$JS.API.STREAM.UPDATE.TICKS",
        "$JS.API.STREAM.DELETE.TICKS",
        "$JS.API.STREAM.PURGE.QUARANTINE",
        "$JS.API.STREAM.PURGE.LATE",
        "$JS.API.CONSUMER.DELETE.TICKS.writer_0",
        "$KV.state.checkpoint.T",
        "$KV.state.seal",
        "health.feed.0",
    ):
        await _may_not_publish(client, faults, subject, until)
    await _may_not_subscribe(client, faults, "_INBOX_feed.>", until)


async def test_a_monitor_can_watch_and_read_the_quarantine(login: Login) -> None:
    client, faults = await login("monitor")
    js = client.jetstream()
    health = await client.subscribe("health.>")
    await client.flush()
    feed, _ = await login("feed")
    await feed.publish("health.feed.0", b"well")
    assert (await health.next_msg(timeout=10)).data == b"well"
    for stream in ("TICKS", "QUARANTINE", "LATE", "KV_state"):
        await js.stream_info(stream)
    await js.consumer_info("TICKS", "writer_0")
    quarantine = await js.pull_subscribe("quarantine.>", stream="QUARANTINE")
    [message] = await quarantine.fetch(1, timeout=10)
    assert message.data == b"bad"
    await message.ack_sync()
    await quarantine.unsubscribe()
    assert (await js.get_msg("QUARANTINE", 1)).data == b"bad"
    assert (await js.get_msg("QUARANTINE", 1, direct=True)).data == b"bad"
    assert faults == []


async def test_a_monitor_cannot_read_ticks_or_change_anything(login: Login, until: Any) -> None:
    client, faults = await login("monitor")
    await _may_not_subscribe(client, faults, "ticks.>", until)
    for subject in (
        "ticks.trades.T.0",
        "health.feed.0",
        "$KV.state.floor.0",
        "$JS.API.STREAM.MSG.GET.TICKS",
        "$JS.API.CONSUMER.CREATE.TICKS",
        "$JS.API.STREAM.DELETE.QUARANTINE",
    ):
        await _may_not_publish(client, faults, subject, until)


async def test_a_mirror_can_seal_read_ticks_and_late_rows_and_purge_these(login: Login) -> None:
    writer, _ = await login("writer")
    await writer.jetstream().publish("late.trades.0", b"old")
    await (await writer.jetstream().key_value("state")).put("sealed.0", b"{}")
    client, faults = await login("mirror")
    js = client.jetstream()
    state = await js.key_value("state")
    for key in ("seal", "lease.mirror"):
        await state.put(key, b"1")
    assert (await state.get("sealed.0")).value == b"{}"
    assert (await js.get_msg("LATE", 1, direct=True)).data == b"old"
    assert (await js.get_last_msg("TICKS", "ticks.trades.T.0", direct=True)).data == b"one"
    await js.purge_stream("LATE", seq=2)
    assert (await js.stream_info("LATE")).state.messages == 0
    await client.publish("health.mirror.0", b"{}")
    await client.flush()
    assert faults == []


async def test_a_mirror_cannot_publish_rows_or_change_what_is_the_writers(login: Login, until: Any) -> None:
    client, faults = await login("mirror")
    for subject in (
        "ticks.trades.T.0",
        "late.trades.0",
        "$KV.state.sealed.0",
        "$KV.state.floor.0",
        "$KV.state.lease.writer.0",
        "$JS.API.STREAM.PURGE.TICKS",
        "$JS.API.STREAM.DELETE.LATE",
        "health.writer.0",
    ):
        await _may_not_publish(client, faults, subject, until)
    for subject in ("ticks.>", "late.>", "_INBOX_writer.>"):
        await _may_not_subscribe(client, faults, subject, until)


async def test_a_gateway_reads_the_shared_state_and_writes_none(login: Login, until: Any) -> None:
    writer, _ = await login("writer")
    await (await writer.jetstream().key_value("state")).put("mark.trades.2024-08-09.0", b"1")
    client, faults = await login("gateway")
    js = client.jetstream()
    assert (await (await js.key_value("state")).get("mark.trades.2024-08-09.0")).value == b"1"
    found = await js.stream_info("KV_state", subjects_filter="$KV.state.mark.>")
    assert found.state.subjects == {"$KV.state.mark.trades.2024-08-09.0": 1}
    await client.publish("health.gateway.0", b"{}")
    await (await login("feed"))[0].jetstream().publish("quarantine.trades.T.1", b"page")
    assert (await js.stream_info("QUARANTINE")).state.messages > 0
    assert (await js.get_msg("QUARANTINE", 1, direct=True)).subject.startswith("quarantine.")
    await client.flush()
    assert faults == []
    for subject in (
        "$KV.state.mark.trades.2024-08-09.0",
        "ticks.trades.T.0",
        "health.writer.0",
        "quarantine.trades.T.1",
        "$JS.API.STREAM.MSG.DELETE.QUARANTINE",
        "$JS.API.STREAM.PURGE.QUARANTINE",
    ):
        await _may_not_publish(client, faults, subject, until)
    await _may_not_subscribe(client, faults, "ticks.>", until)


async def test_a_sender_asks_and_is_answered_and_can_nothing_else(login: Login, until: Any) -> None:
    accounts, accounts_faults = await login("accounts")
    sender, faults = await login("sender")

    async def answer(message: Msg) -> None:
        await message.respond(b"stored")

    await accounts.subscribe("accounts.trades", queue="accounts", cb=answer)
    await accounts.flush()
    assert (await sender.request("accounts.trades", b"{}", timeout=10)).data == b"stored"
    js = accounts.jetstream()
    await js.publish("ticks.account_trades.accounts.0", b"good")
    await js.publish("quarantine.account_trades.accounts.1", b"bad")
    await js.key_value("state")
    await accounts.publish("health.accounts.0", b"{}")
    await accounts.flush()
    assert faults + accounts_faults == []
    for subject in ("ticks.account_trades.accounts.0", "quarantine.x", "_INBOX_accounts.x", "$JS.API.INFO"):
        await _may_not_publish(sender, faults, subject, until)
    for subject in ("accounts.trades", "_INBOX_accounts.>", "health.>", "ticks.>", ">"):
        await _may_not_subscribe(sender, faults, subject, until)
    # A request whose reply is to go elsewhere makes nobody else's subject its own.
    for subject in ("ticks.trades.T.0", "$KV.state.floor.0", "accounts.trades", "_INBOX_feed.x"):
        await _may_not_publish(accounts, accounts_faults, subject, until)
    await _may_not_subscribe(accounts, accounts_faults, "_INBOX_sender.>", until)


@pytest.mark.parametrize("user", [*part_of.GRANTS, "nobody", ""])
async def test_a_wrong_password_is_refused(login: Login, user: str) -> None:
    with pytest.raises(NatsError, match=r"(?i)authorization violation"):
        await login(user, "wrong")


async def test_a_server_too_old_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_of, "OLDEST", (99, 0))
    with pytest.raises(StackError, match=r"nats: expected version 99\.0 or newer, was 2\."):
        async with _running(home):
            pass


async def test_a_port_taken_since_the_last_time_is_named_in_the_view(home: Home) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", Ports(home, {"nats": 0}).take("nats", 4222)))
        listener.listen()
        taken = listener.getsockname()[1]
        async with Stack(home) as stack:
            stack.add(part_of.part(home, Ports(home)))
            await stack.start("nats")
            [seen] = stack.view()
    assert seen.state is State.READY
    assert f"port {taken} (nats) is taken by pid {os.getpid()}" in seen.detail
    assert not seen.address.endswith(f":{taken}")
