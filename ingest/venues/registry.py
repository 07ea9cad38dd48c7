"""All live venues, by name."""

from __future__ import annotations

from ingest.venues.binance import venue as binance
from ingest.venues.coinbase import venue as coinbase
from ingest.venues.kraken import venue as kraken
from ingest.venues.venue import Venue

VENUES: dict[str, Venue] = {
    venue.name: venue
    for venue in (
        binance.SPOT,
        binance.USDM,
        binance.COINM,
        coinbase.EXCHANGE,
        kraken.SPOT,
    )
}
