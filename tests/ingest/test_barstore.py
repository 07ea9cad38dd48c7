"""What is read of the hot store holds no row above the seq that was asked for."""

from __future__ import annotations

from ingest.applied import wait_queryable
from ingest.barstore import BarStore
from ingest.hotstore import HotStore
from tapehouse.bars import RINGS
from tapehouse.clock import MINUTE, NAMES, SECOND, parse_ns
from tests.conftest import Platform
from tests.ingest.livebars import trades

_NOON = parse_ns("2024-08-08T12:00:00Z")


def test_symbols_behind_the_clock_of_their_venue_are_read_up_to_the_seq(
    provisioned: Platform, venue: str
) -> None:
    rows = [(_NOON + n * SECOND, "BEHIND", n + 1, 100.0 + n, 1.0, 1, 0) for n in range(300)]
    ahead = [(_NOON + 20 * MINUTE + n * SECOND, "AHEAD", n + 1, 7.0, 1.0, 1, 0) for n in range(60)]
    hot = HotStore(provisioned.settings.questdb)
    assert not hot.commit([trades(venue, rows), trades(venue, ahead)])
    hot.close()
    store = BarStore(provisioned.settings.questdb, RINGS)
    try:
        wait_queryable(store.reader, {"trades"})
        assert store.venues(5_000)[venue].symbols == {"BEHIND": 300, "AHEAD": 60}
        head = store.last_ns(venue, store.venues(5_000)[venue].day_ns)
        assert head == ahead[-1][0]
        found = store.read(venue, {"BEHIND": 77, "AHEAD": 60}, head)
    finally:
        store.close()
    for symbol, count, price in (("BEHIND", 77, 176.0), ("AHEAD", 60, 7.0)):
        held = found[symbol].held
        assert found[symbol].clean
        assert held.latest["seq"] == count
        for interval in range(len(NAMES)):
            bars = held.bars[held.intervals == interval]
            assert bars["trades"].sum() == count, NAMES[interval]
            assert bars["close"][-1] == price
