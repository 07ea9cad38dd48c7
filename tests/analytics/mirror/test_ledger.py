"""The ledger in ClickHouse: entries are read back as written, and the highest revision counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from analytics.mirror.ledger import LateStreamPosition, Ledger, LedgerEntry
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stream.mark import DayMark

_ENTRY = LedgerEntry(
    "trades",
    "2024-02-29",
    owner="cold",
    rows=2**63,
    fingerprint="0f" * 16,
    marks={0: DayMark(2**60, 2**62, False), 11: DayMark(7, 0, True), 2: DayMark(7, 1, False)},
    late_position=LateStreamPosition(2**60, 2**62),
    fault="expected 'that', was {this}\n\tÄÖ☃ \\",
    pending="f0" * 16,
    seconds=0.1,
    bytes=2**40,
    proven_ns=1_709_164_800_123_456_789,
)


@pytest.fixture(scope="module")
def client(shared_cold: ClickHouse) -> Iterator[ClickHouseClient]:
    client = ClickHouseClient(shared_cold)
    yield client
    client.close()


@pytest.fixture
def ledger(client: ClickHouseClient) -> Ledger:
    client.command("TRUNCATE TABLE ledger")
    return Ledger(client)


def test_an_entry_is_read_back_as_written(ledger: Ledger) -> None:
    put = ledger.put(_ENTRY)
    assert replace(put, revision=0) == _ENTRY
    assert ledger.get("trades", "2024-02-29") == put
    assert ledger.read() == {("trades", "2024-02-29"): put}


def test_an_unknown_day_has_a_new_entry(ledger: Ledger) -> None:
    ledger.put(_ENTRY)
    assert ledger.get("quotes", "2024-02-29") == LedgerEntry("quotes", "2024-02-29")
    assert ledger.get("trades", "2024-02-28") == LedgerEntry("trades", "2024-02-28")
    assert LedgerEntry("trades", "2024-02-28").owner == "hot"


def test_the_last_entry_of_a_day_counts(ledger: Ledger) -> None:
    entry = ledger.put(_ENTRY)
    for rows in range(3):
        before, entry = entry, ledger.put(replace(entry, rows=rows))
        assert entry.revision > before.revision
    other = ledger.put(LedgerEntry("quotes", "2024-02-29"))
    assert ledger.get("trades", "2024-02-29") == entry
    assert ledger.read() == {entry.key: entry, other.key: other}


def test_an_entry_of_a_mirror_that_lost_its_lease_counts_less(ledger: Ledger) -> None:
    read = ledger.put(LedgerEntry("trades", "2024-02-29"), 1_000)
    assert read.revision == 1_000
    newer = ledger.put(replace(read, rows=5), 2_000)
    # Its mirror was paused after it confirmed the lease.
    older = ledger.put(replace(read, rows=4), 1_500)
    assert older.revision == 1_500
    assert ledger.get("trades", "2024-02-29") == newer


def test_revisions_rise_though_the_clock_goes_back(ledger: Ledger) -> None:
    entry = ledger.put(LedgerEntry("trades", "2024-02-29"), 5_000)
    assert ledger.put(replace(entry, rows=1), 3_000).revision == 5_001
    assert ledger.get("trades", "2024-02-29").rows == 1
