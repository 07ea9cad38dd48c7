"""The keys of the last rows are remembered, those of the oldest are not."""

from __future__ import annotations

import polars as pl
import pytest

from ingest.imports import key_memory
from ingest.imports.key_memory import KeyMemory


def keys(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"symbol": [f"S{number % 3}" for number in numbers], "seq": numbers})


def test_keys_are_known_in_any_order_and_whichever_batch_had_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_memory, "KEPT_ROWS", 200)
    memory = KeyMemory()
    assert not memory.holds(keys(1, 2)).any()
    memory.add(keys())
    for first in range(0, 150, 15):
        memory.add(keys(*range(first + 14, first - 1, -1)))
    assert memory.holds(keys(149, 0, 150, 77, -1)).tolist() == [True, True, False, True, False]


def test_the_last_keys_stay_and_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_memory, "KEPT_ROWS", 200)
    for asks_after in (1, 7, 500):
        memory = KeyMemory()
        for number, first in enumerate(range(0, 5_000, 10), 1):
            memory.add(keys(*range(first, first + 10)))
            if number % asks_after == 0:
                assert memory.holds(keys(first, max(0, first - 190), 5_000)).tolist() == [True, True, False]
        assert memory.holds(keys(*range(4_800, 5_000))).all()
        assert memory.holds(keys(*range(5_000))).sum() <= 220
