"""Features of several symbols: each symbol's are those it has alone, in any span, over the seam of the stores."""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest

from gateway.answers import features
from gateway.answers.features import read_features
from gateway.query import Query
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.errors import UsageError
from tapehouse.features.candle import FEATURES
from tapehouse.model import TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.world import World

_FIRST = parse_ns("2024-03-01")
_SYMBOLS = ("B", "A", "Ä", "none")


@pytest.fixture(scope="module")
def world() -> World:
    """Trades of three days, the first of which is cold: A on all days, B on the last, Ä now and then."""
    chance = Random(6)
    times = [("A", _FIRST + chance.randrange(3 * DAY)) for _ in range(4_000)]
    times += [("B", _FIRST + 2 * DAY + chance.randrange(DAY)) for _ in range(800)]
    times += [("Ä", _FIRST + chance.randrange(3 * DAY)) for _ in range(60)]
    rows = as_frame(batch(TRADES, len(times), 1, venue="V", start=_FIRST, span=1)).with_columns(
        pl.Series("ts_event", [at for _, at in times]).cast(pl.Datetime("ns", "UTC")),
        symbol=pl.Series([name for name, _ in times]),
        seq=pl.int_range(len(times)),
        flags=pl.lit(0, pl.Int16),
    )
    found = World({"trades": rows})
    found.hand_over(TRADES, 1)
    found.leave(TRADES)
    found.refresh()
    return found


def _asked(*symbols: str, interval: str = "15m", **more: Any) -> Query:
    span = {"start": _FIRST + DAY + 7 * SECOND, "end": _FIRST + 3 * DAY} if "last" not in more else {}
    return Query.from_user("bars", venue="V", symbols=symbols, interval=interval, **{**span, **more})


@pytest.mark.parametrize("more", [{}, {"interval": "1h"}, {"last": 7}, {"fill": "flat"}, {"interval": "1d"}])
def test_each_symbol_has_what_it_has_alone(world: World, more: dict[str, Any]) -> None:
    found = read_features(world, _asked(*_SYMBOLS, **more))
    assert found.columns == ["ts", "symbol", *(feature.name for feature in FEATURES)]
    assert found.equals(found.sort("ts", "symbol"))
    for symbol in _SYMBOLS:
        alone = read_features(world, _asked(symbol, **more))
        assert found.filter(pl.col("symbol") == symbol).equals(alone)
        assert alone.is_empty() == (symbol == "none")
        if "last" in more and symbol in "AB":
            assert alone.height == more["last"]


def test_a_span_has_what_a_longer_one_has(world: World) -> None:
    whole = read_features(world, _asked("A", "B", start=_FIRST))
    start = _FIRST + 2 * DAY
    late = read_features(world, _asked("A", "B", start=start))
    assert 0 < late.height < whole.height
    assert late.equals(whole.filter(pl.col("ts").cast(pl.Int64) >= start))


def test_all_symbols_together_have_so_many_bars(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both = read_features(world, _asked("A", "B")).height
    monkeypatch.setattr(features, "_MAX_BARS", both)
    assert read_features(world, _asked("A", "B")).height == both
    monkeypatch.setattr(features, "_MAX_BARS", both - 1)
    with pytest.raises(UsageError, match=r"expected at most .* bars, was more\nRequest a shorter span"):
        read_features(world, _asked("A", "B"))
    assert read_features(world, _asked("A")).height < both


def test_custom_intervals_have_none(world: World) -> None:
    with pytest.raises(UsageError, match=r"expected one of 15s .* 1M, was '7m'\nCustom intervals are"):
        read_features(world, _asked("A", interval="7m"))
