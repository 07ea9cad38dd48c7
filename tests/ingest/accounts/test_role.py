"""Account trades by request on a real broker that is killed, full, or asked for what it cannot do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ingest.accounts import role as module
from ingest.accounts.role import SUBJECT, AccountTradeReceiver
from ingest.quarantine import Quarantine
from tapehouse.batch import Batch
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Settings
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.health import Health
from tapehouse.stream.quarantine_pages import QuarantineEntry
from tapehouse.stream.wire import unpack
from tests.broker import Broker
from tests.ingest.accounts.test_request import trade
from tests.waiting import DEADLINE_S, until


@asynccontextmanager
async def running(broker: Broker) -> AsyncIterator[Health]:
    """The role, ready, and killed at the end: nothing that it has begun is finished."""
    health = Health("accounts")
    bus = await Bus.connect(broker.settings, "accounts")
    work = asyncio.create_task(AccountTradeReceiver(bus, health).run())
    try:
        await until(lambda: state(health) == "ready" or work.done(), "the role to be ready")
        await bus.client.flush()
        yield health
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await bus.close()


def state(health: Health) -> str:
    return str(health._report["state"])


@pytest.fixture
async def sender(broker: Broker) -> AsyncIterator[Client]:
    """A client with no more than what the documented example has."""
    client = Client()

    async def quiet(_: Exception) -> None:
        """A lost connection is what some tests are about."""

    await client.connect(
        broker.settings.nats.url,
        user="sender",
        password=broker.settings.nats.passwords["sender"].get_secret_value(),
        inbox_prefix="_INBOX_sender",
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,  # type: ignore[arg-type]
        error_cb=quiet,
    )
    yield client
    await client.close()


@pytest.fixture
async def admin(broker: Broker) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.settings, "admin")
    yield bus
    await bus.close()


async def ask(sender: Client, payload: str, timeout: float = 10) -> dict[str, Any]:
    return dict(json.loads((await sender.request(SUBJECT, payload.encode(), timeout=timeout)).data))


class Senders:
    """Senders that can be relied on: each sends a trade until it is answered, then the next."""

    def __init__(self, client: Client, count: int = 10) -> None:
        self._client = client
        self.answered: set[int] = set()
        self.repeats = 0
        self._enough = False
        self._tasks = [asyncio.create_task(self._send(first)) for first in range(count)]

    async def more(self, count: int) -> None:
        """Return when so many more are answered."""
        before = len(self.answered)
        await until(lambda: len(self.answered) >= before + count, f"{count} answers")

    async def end(self) -> None:
        """Return when all that were sent are answered."""
        self._enough = True
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*self._tasks)

    async def _send(self, number: int) -> None:
        while not self._enough:
            try:
                answer = await ask(self._client, trade(number), 0.3)
            except (NatsError, TimeoutError):
                self.repeats += 1
                # Where nobody listens, the answer to that is at once.
                await asyncio.sleep(0.01)
                continue
            if "accepted" in answer:
                assert answer == {"accepted": 1, "quarantined": []}
                self.answered.add(number)
                number += len(self._tasks)
            else:
                assert answer["error"].startswith("busy: "), answer


async def stored(admin: Bus) -> list[Batch]:
    """All batches on the stream, in order."""
    found: list[Batch] = []
    seq = 0
    while True:
        try:
            message = await admin.js.get_msg(TICKS, seq + 1, "ticks.>", direct=True, next=True)
        except NotFoundError:
            return found
        seq = message.seq or 0
        found.append(unpack(message.data or b""))


def ids(batches: list[Batch]) -> list[int]:
    return [number for batch in batches for number in batch.array("id").tolist()]


async def quarantined(admin: Bus) -> list[QuarantineEntry]:
    return [entry async for entry in Quarantine(admin).entries()]


async def test_an_answer_says_what_is_stored_and_what_is_in_quarantine_and_why(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    async with running(broker) as health:
        payload = f"[{trade(1, amount='0.000000000000000001')}, {trade('true')}, {trade(2)}, {trade(-1)}]"
        answer = await ask(sender, payload)
        assert answer["accepted"] == 2
        assert [one["index"] for one in answer["quarantined"]] == [1, 3]
        assert answer["quarantined"][0]["reason"] == "id: expected a whole number, was true"
        # An answer that got lost: the same again.
        assert await ask(sender, payload) == answer
        assert health._report["rows"] == 4
    batches = await stored(admin)
    assert {batch.kind for batch in batches} == {ACCOUNT_TRADES}
    assert ids(batches) == [1, 2, 1, 2]
    assert int.from_bytes(batches[0].array("amount")[0].tobytes(), "little", signed=True) == 1
    entries = await quarantined(admin)
    assert [entry.original.decode() for entry in entries] == [trade("true"), trade(-1)]
    assert [entry.reason for entry in entries] == [one["reason"] for one in answer["quarantined"]]
    assert [entry.where for entry in entries] == ["accounts.trades 1", "accounts.trades 3"]


async def test_what_cannot_be_read_at_all_is_answered_and_leaves_nothing(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    async with running(broker):
        for payload in ("", "ID=7", f"[{trade()}"):
            answer = await ask(sender, payload)
            assert answer["error"].startswith("payload: expected")
            assert set(answer) == {"error", "remedy"}
        assert await ask(sender, "[]") == {"accepted": 0, "quarantined": []}
        refused = await ask(sender, "[" + ",".join(["[]"] * 5_000) + "]")
        assert len(refused["quarantined"]) == 5_000
    assert await stored(admin) == []
    assert len(await quarantined(admin)) == 5_000


async def test_many_at_once_share_batches_and_each_gets_its_own_answer(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    async with running(broker), running(broker):
        payloads = [
            f"{trade(number)}\n{trade('null')}" if number % 7 == 0 else trade(number) for number in range(300)
        ]
        answers = await asyncio.gather(*(ask(sender, payload) for payload in payloads))
        assert all(answer["accepted"] == 1 for answer in answers)
        assert [len(answer["quarantined"]) for answer in answers] == [int(n % 7 == 0) for n in range(300)]
    batches = await stored(admin)
    assert sorted(ids(batches)) == list(range(300))
    assert len(batches) < 300


async def test_a_broker_killed_while_requests_are_in_work_loses_none(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    async with running(broker):
        senders = Senders(sender)
        for _ in range(4):
            await senders.more(50)
            await broker.kill()
            await broker.start()
        await senders.end()
    assert set(ids(await stored(admin))) >= senders.answered


async def test_a_role_killed_while_requests_are_in_work_loses_none(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    senders = Senders(sender)
    for _ in range(4):
        async with running(broker):
            await senders.more(50)
    async with running(broker):
        await senders.end()
    assert senders.repeats
    assert set(ids(await stored(admin))) >= senders.answered


async def test_a_full_stream_is_told_to_senders_and_in_health_and_taken_up_when_there_is_room(
    tmp_path: Path,
) -> None:
    async with Broker(tmp_path / "broker") as broker:
        nats = broker.settings.nats.model_copy(update={"stream_max_bytes": 2**20})
        broker.settings = Settings(home=broker.settings.home, nats=nats)
        await broker.provision()
        admin = await Bus.connect(broker.settings, "admin")
        client = Client()
        await client.connect(
            broker.settings.nats.url,
            user="sender",
            password=nats.passwords["sender"].get_secret_value(),
            inbox_prefix="_INBOX_sender",
        )
        async with running(broker) as health, asyncio.timeout(DEADLINE_S):
            asking = [
                asyncio.create_task(ask(client, "\n".join(trade(n * 1_000 + m) for m in range(1_000)), 60))
                for n in range(20)
            ]
            await until(lambda: state(health) == "waiting", "the full stream to be told")
            assert health._report["detail"] == "the stream is full: the writers have not caught up"
            answer = await ask(client, trade(1))
            assert answer["error"] == "busy: the stream is full: the writers have not caught up"
            assert "again" in answer["remedy"]
            kept = ids(await stored(admin))
            await admin.js.purge_stream(TICKS)
            answers = await asyncio.gather(*asking)
            await until(lambda: state(health) == "ready", "room")
        accepted = [n for n, answer in enumerate(answers) if "accepted" in answer]
        assert accepted
        there = {number // 1_000 for number in kept + ids(await stored(admin))}
        assert there >= set(accepted)
        assert len(there) == len(accepted)
        await client.close()
        await admin.close()


async def test_more_than_is_taken_at_once_is_told_to_come_again(
    broker: Broker, sender: Client, admin: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BYTES", 1_000)
    async with running(broker):
        answer = await ask(sender, "\n".join(trade(number) for number in range(10)))
        assert answer["error"] == "busy: 0 requests are in progress"
        assert (await ask(sender, trade(1)))["accepted"] == 1
    assert ids(await stored(admin)) == [1]


async def test_a_request_without_a_reply_is_taken_and_a_foreign_reply_is_not_written_to(
    broker: Broker, sender: Client, admin: Bus
) -> None:
    async with running(broker):
        await sender.publish(SUBJECT, trade(1).encode())
        await sender.publish(SUBJECT, trade(2).encode(), reply="ticks.account_trades.accounts.0")
        assert (await ask(sender, trade(3)))["accepted"] == 1
    assert sorted(ids(await stored(admin))) == [1, 2, 3]


async def test_the_documented_example_sends_a_trade(
    broker: Broker, admin: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "account-trades.md").read_text()
    (example,) = re.findall(r"```python\n(import asyncio, nats\n.*?)```", text, re.DOTALL)
    at = broker.settings.nats
    words = {"URL": at.url, "PASSWORD": at.passwords["sender"].get_secret_value(), "TRADES": trade(7)}
    async with running(broker):
        await asyncio.to_thread(exec, example, words)
    assert capsys.readouterr().out.splitlines()[-1] == """b'{"accepted": 1, "quarantined": []}'"""
    assert ids(await stored(admin)) == [7]
