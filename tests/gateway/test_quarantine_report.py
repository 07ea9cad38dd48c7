"""What the gateway tells of the quarantine: all rows, the reasons of the newest, and no more than that."""

from __future__ import annotations

import pytest

from gateway import quarantine_report
from gateway.quarantine_report import QuarantineReport
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from tapehouse.errors import ConnectError
from tests.broker import Broker
from tests.ingest.barmaker.livebars import connected

_TRADES = Origin("trades", "v", "a.csv", {"format": "csv"})


def _bad(prices: list[str]) -> list[Rejected]:
    return [
        Rejected(f"secret {n}".encode(), f"price: expected a number, was {price!r}", f"a.csv line {n}")
        for n, price in enumerate(prices)
    ]


async def test_rows_are_counted_by_what_was_expected_and_the_newest_are_told(broker: Broker) -> None:
    async with connected(broker.settings, "gateway") as bus, connected(broker.settings, "feed") as feed:
        report = QuarantineReport(bus)
        assert await report.read() == {"rows": 0, "counted": 0, "reasons": [], "newest": []}
        quarantine = Quarantine(feed)
        await quarantine.put(_TRADES, _bad([str(n) for n in range(30)]))
        account = Origin("account_trades", "accounts", "request", {})
        await quarantine.put(account, [Rejected(b"{}", "ID: expected an id, was <b>\x1b[31m\nx", "row 7")])
        told = await report.read()
        assert (told["rows"], told["counted"]) == (31, 31)
        assert told["reasons"] == [
            {"reason": "price: expected a number", "rows": 30},
            {"reason": "ID: expected an id", "rows": 1},
        ]
        first, second, *_ = told["newest"]
        assert {name: value for name, value in first.items() if name != "ts"} == {
            "kind": "account_trades",
            "venue": "accounts",
            "place": "row 7",
            "reason": r"ID: expected an id, was <b>\x1b[31m x",
        }
        assert (second["place"], second["reason"]) == ("a.csv line 29", "price: expected a number, was '29'")
        assert len(told["newest"]) == 20
        assert "secret" not in str(told)
        assert await report.read() is told
        await quarantine.replace_page(1, [])
        assert (await report.read())["rows"] == 1


async def test_of_more_pages_the_newest_are_counted(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_report, "_PAGES", 3)
    async with connected(broker.settings, "gateway") as bus, connected(broker.settings, "feed") as feed:
        quarantine = Quarantine(feed)
        for page in range(5):
            await quarantine.put(_TRADES, _bad([f"{page}"] * (page + 1)))
        told = await QuarantineReport(bus).read()
        assert (told["rows"], told["counted"]) == (15, 12)
        assert told["newest"][0]["reason"] == "price: expected a number, was '4'"


async def test_without_nats_the_reader_is_told(broker: Broker) -> None:
    async with connected(broker.settings, "gateway") as bus:
        await broker.kill()
        report = QuarantineReport(bus)
        with pytest.raises(ConnectError, match="nats: does not answer"):
            await report.read()
        await broker.start()
        await bus.until_connected()
        assert (await report.read())["rows"] == 0
