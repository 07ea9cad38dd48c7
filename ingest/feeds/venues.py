"""The venues there are."""

from __future__ import annotations

from ingest.feeds import binance_venue, coinbase, kraken
from ingest.feeds.venue import Venue

VENUES: dict[str, Venue] = {
    venue.name: venue
    for venue in (
        binance_venue.SPOT,
        binance_venue.USDM,
        binance_venue.COINM,
        coinbase.EXCHANGE,
        kraken.SPOT,
    )
}
