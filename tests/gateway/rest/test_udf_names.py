"""The names of symbols in UDF, and the decimals of prices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.udf.names import Series, SeriesNames
from gateway.rest.udf.precision import decimals
from tapehouse.errors import UnknownSeriesError


class _Catalog:
    """What a surface knows of names: first what it read a moment ago, then what is stored now."""

    def __init__(
        self, now: Mapping[str, Collection[str]], before: Mapping[str, Collection[str]] | None = None
    ):
        self.now, self.before = now, now if before is None else before

    def names(self, kind: str, *, fresh: bool = False) -> Mapping[str, Collection[str]]:
        return self.now if fresh else self.before


def _names(
    now: Mapping[str, Collection[str]], before: Mapping[str, Collection[str]] | None = None
) -> SeriesNames:
    return SeriesNames(_Catalog(now, before))  # type: ignore[arg-type]


_TEXT = st.text(st.sampled_from("aAbB:ß"), min_size=1, max_size=3)


@given(st.dictionaries(_TEXT, st.sets(_TEXT, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_a_full_name_means_its_symbol_whatever_letters_and_colons_it_has(
    stored: dict[str, set[str]], data: st.DataObject
) -> None:
    venue = data.draw(st.sampled_from(sorted(stored)))
    series = Series(venue, data.draw(st.sampled_from(sorted(stored[venue]))))
    names = _names(stored)
    # a:b:c may be of two venues, a and a:b.
    if sum(one.full_name == series.full_name for one in _all(stored)) > 1:
        with pytest.raises(UnknownSeriesError, match="expected one of"):
            names.find(series.full_name)
    else:
        assert names.find(series.full_name) == series
    found = names.search(series.symbol.upper(), "", 1_000)
    assert series in found


def _all(stored: Mapping[str, Collection[str]]) -> list[Series]:
    return [Series(venue, symbol) for venue, symbols in stored.items() for symbol in symbols]


def test_a_symbol_that_was_stored_a_moment_ago_is_found() -> None:
    assert _names({"v": {"NEW"}}, before={}).find("v:NEW") == ("v", "NEW")
    assert _names({"v": {"NEW"}}, before={}).of_venue("v") == [("v", "NEW")]


def test_capitals_mean_any_case_unless_a_symbol_is_written_so() -> None:
    names = _names({"sim": {"btc", "BTC"}, "x": {"eth"}})
    assert names.find("sim:BTC").symbol == "BTC"
    assert names.find("X:ETH") == ("x", "eth")
    assert names.find("ETH") == ("x", "eth")
    with pytest.raises(UnknownSeriesError, match="expected one of sim:BTC sim:btc"):
        names.find("SIM:BTC")
    with pytest.raises(UnknownSeriesError, match="near: x:eth"):
        names.find("x:etj")


def test_a_search_lists_first_what_is_named_so_then_what_begins_so() -> None:
    names = _names({"v": {"WBTC", "BTCUSDT", "BTC"}, "btcx": {"ETH"}})
    assert [one.symbol for one in names.search("BTC", "", 9)] == ["BTC", "BTCUSDT", "WBTC", "ETH"]
    assert [one.symbol for one in names.search("BTC", "v", 2)] == ["BTC", "BTCUSDT"]
    assert [one.symbol for one in names.search("", "btcx", 9)] == ["ETH"]


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 6)), min_size=1))
def test_decimals_are_those_that_prices_are_written_with(prices: list[tuple[int, int]]) -> None:
    written = [Decimal(whole).scaleb(-places) for whole, places in prices]
    most = max(max(-int(price.normalize().as_tuple().exponent), 0) for price in written)
    assert decimals([float(price) for price in written]) == most


def test_decimals_of_nothing_and_of_the_smallest_are_bounded() -> None:
    assert decimals([]) == 0
    assert decimals([1e-300]) == 15
    assert decimals([0.1 + 0.2, -2.5, 1e12, 0.0]) == 1
