"""Bars read from QuestDB have no row above the requested seq."""

from __future__ import annotations

from ingest.barmaker.store import BarStore
from ingest.writer.store import QuestDBWriter
from tapehouse.bars.engine import RING_SIZES
from tapehouse.clock import MINUTE, NAMES, SECOND, parse_ns
from tests.conftest import Platform
from tests.ingest.barmaker.livebars import trades

# A text that QuestDB could take for something else where it is looked for alone.
_BEHIND = "null"
_NOON = parse_ns("2024-08-08T12:00:00Z")


def test_symbols_that_trade_before_the_clock_of_their_venue_are_read_up_to_the_seq(
    provisioned: Platform, venue: str
) -> None:
    rows = [(_NOON + n * SECOND, _BEHIND, n + 1, 100.0 + n, 1.0, 1, 0) for n in range(300)]
    ahead = [(_NOON + 20 * MINUTE + n * SECOND, "AHEAD", n + 1, 7.0, 1.0, 1, 0) for n in range(60)]
    hot = QuestDBWriter(provisioned.settings.questdb)
    assert not hot.commit([trades(venue, rows), trades(venue, ahead)])
    hot.close()
    store = BarStore(provisioned.settings.questdb, RING_SIZES)
    try:
        store.reader.wait_applied("trades")
        assert store.read_venues(5_000)[venue].last_seqs == {_BEHIND: 300, "AHEAD": 60}
        head = store.last_trade_ns(venue, store.read_venues(5_000)[venue].last_day_ns)
        assert head == ahead[-1][0]
        found = store.read_symbols(venue, {_BEHIND: 77, "AHEAD": 60}, head)
        newest = store.last_bars(venue, _BEHIND, "1m", _NOON + 5 * MINUTE, 1)
    finally:
        store.close()
    assert newest["close"][-1] == 399.0
    for symbol, count, price in ((_BEHIND, 77, 176.0), ("AHEAD", 60, 7.0)):
        stored = found[symbol].stored
        assert found[symbol].complete
        assert stored.latest["seq"] == count
        for interval in range(len(NAMES)):
            bars = stored.bars[stored.intervals == interval]
            assert bars["trades"].sum() == count, NAMES[interval]
            assert bars["close"][-1] == price
