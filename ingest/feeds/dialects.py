"""The venues whose side a replay can speak."""

from __future__ import annotations

from ingest.feeds import replay_binance, replay_coinbase, replay_kraken
from ingest.feeds.dialect import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        replay_binance.SPOT,
        replay_binance.USDM,
        replay_binance.COINM,
        replay_coinbase.EXCHANGE,
        replay_kraken.SPOT,
    )
}
