"""All emulated venues, by name."""

from __future__ import annotations

from ingest.replay import binance, coinbase, kraken
from ingest.replay.emulator import VenueEmulator

EMULATORS: dict[str, VenueEmulator] = {
    emulator.name: emulator
    for emulator in (
        binance.SPOT,
        binance.USDM,
        binance.COINM,
        coinbase.EXCHANGE,
        kraken.SPOT,
    )
}
