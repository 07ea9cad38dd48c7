"""What the methods ask of the gateway, and what they make of its answers."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from importlib.metadata import version
from typing import Any

import polars as pl
import pytest

import tapehouse
from tapehouse.client.database import Database
from tapehouse.clock import HOUR, now_ns, parse_ns
from tapehouse.errors import ConnectError, NaiveTimeError, UnknownSeriesError, UsageError
from tests.tapehouse.client.played import (
    Act,
    Played,
    answering,
    catalog,
    hanging_up,
    refusing,
    saying,
    stream,
    streaming,
    trades,
)

_OK = answering(200, b"{}")


@pytest.fixture
def playing() -> Iterator[Callable[..., tuple[Database, Played]]]:
    """A database, behind it a gateway that is well and then does the acts given."""
    begun: list[tuple[Database, Played]] = []

    def begin(*acts: Act) -> tuple[Database, Played]:
        gateway = Played(_OK, *acts)
        begun.append((tapehouse.connect(gateway.url), gateway))
        return begun[-1]

    yield begin
    for db, gateway in begun:
        db.close()
        gateway.stop()


_Playing = Callable[..., tuple[Database, Played]]


def test_rows_come_as_polars_with_times_in_utc_and_the_segments_that_served_them(playing: _Playing) -> None:
    db, gateway = playing(streaming(stream(trades(2500))))
    rows = db.trades("Ä/B", "2024-01-01", "2024-01-03", venue="sim")
    assert rows.columns == ["ts_event", "symbol", "price", "size", "venue", "seq"]
    assert rows.equals(pl.DataFrame(trades(2500)).select(rows.columns))
    assert rows.schema["ts_event"] == pl.Datetime("ns", "UTC")
    assert gateway.asked == {
        "venue": ["sim"], "symbol": ["Ä/B"], "start": ["2024-01-01T00:00:00Z"], "end": ["2024-01-03T00:00:00Z"],
    }  # fmt: skip
    assert db.segments.columns == ["store", "start", "end", "rows", "cached", "ms", "quality", "why"]
    assert db.segments["store"].to_list() == ["clickhouse", "questdb"]
    assert db.segments["end"].cast(pl.Int64).to_list()[1] == 1_704_153_600_000_000_001
    assert db.segments["quality"].to_list() == ["unproven", ""]


def test_an_answer_can_be_read_in_batches_as_it_arrives(playing: _Playing) -> None:
    whole = stream(trades(2500))
    db, gateway = playing(streaming(whole))
    found = pl.concat(db.batches("trades", "Ä/B", "2024-01-01", venue="sim", columns="price"))
    assert found.equals(pl.DataFrame(trades(2500)))
    assert gateway.asked == {
        "venue": ["sim"], "symbol": ["Ä/B"], "start": ["2024-01-01T00:00:00Z"], "columns": ["price"],
    }  # fmt: skip
    assert db.segments.height == 2
    gateway.acts[:] = [streaming(whole[: len(whole) // 2], ended=False)]
    with pytest.raises(ConnectError, match="the answer was truncated"):
        list(db.batches("trades", "Ä/B", "2024-01-01"))


def test_no_rows_are_a_frame_with_the_columns(playing: _Playing) -> None:
    db, _ = playing(streaming(stream(trades(0))))
    rows = db.trades("A", last=5, venue="sim")
    assert rows.equals(pl.DataFrame(trades(0)).select(rows.columns))


@pytest.mark.parametrize(
    "start",
    [
        "2024-08-09T12:00:00Z",
        "2024-08-09T14:00:00+02:00",
        1_723_204_800_000_000_000,
        datetime(2024, 8, 9, 12, tzinfo=UTC),
        datetime(2024, 8, 9, 14, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_time_may_be_written_in_any_way_that_has_a_zone(playing: _Playing, start: Any) -> None:
    db, gateway = playing(streaming(stream(trades(1))))
    db.quotes("A", start, date(2024, 8, 10), venue="sim")
    assert gateway.asked["start"] == ["2024-08-09T12:00:00Z"]
    assert gateway.asked["end"] == ["2024-08-10T00:00:00Z"]


def test_a_time_may_be_relative_to_now(playing: _Playing) -> None:
    db, gateway = playing(streaming(stream(trades(1))))
    db.trades("A", "-1h", "now", venue="v")
    start, end = (parse_ns(gateway.asked[name][0]) for name in ("start", "end"))
    assert end - start == HOUR
    assert abs(end - now_ns()) < HOUR
    gateway.acts[:] = [saying({})]
    db.book("A", "yesterday", venue="v")
    assert gateway.asked["at"][0].endswith("T00:00:00Z")


@pytest.mark.parametrize("naive", ["2024-08-09T12:00:00", datetime(2024, 8, 9, 12)])
def test_a_time_without_a_zone_is_refused_and_nothing_asked(playing: _Playing, naive: Any) -> None:
    db, gateway = playing(streaming(stream(trades(1))))
    with pytest.raises(NaiveTimeError, match="no zone"):
        db.trades("A", naive, venue="sim")
    assert gateway.paths == ["/healthz"]


@pytest.mark.parametrize(
    ("ask", "path", "parameters"),
    [
        (lambda db: db.depth(["A", "B"], 0, venue="v", columns="seq", flags=5, limit=9), "/v1/depth",
         {"symbol": ["A", "B"], "start": ["1970-01-01T00:00:00Z"], "venue": ["v"], "columns": ["seq"], "flags": ["5"],
          "limit": ["9"]}),
        (lambda db: db.bars("A", "1m", last=7, venue="v", fill="flat"), "/v1/bars",
         {"symbol": ["A"], "interval": ["1m"], "fill": ["flat"], "last": ["7"], "venue": ["v"]}),
        (lambda db: db.bars("A", "1m", last=7, venue="v", open=False), "/v1/bars",
         {"symbol": ["A"], "interval": ["1m"], "fill": ["none"], "last": ["7"], "venue": ["v"], "open": ["false"]}),
        (lambda db: db.account_trades([1, "2"], last=1), "/v1/account_trades", {"account": ["1", "2"], "last": ["1"]}),
        (lambda db: db.account_trades(3, last=1, columns=("id", "amount")), "/v1/account_trades",
         {"account": ["3"], "last": ["1"], "columns": ["id", "amount"]}),
        (lambda db: db.account_candles(3, "30m", last=1), "/v1/account_candles",
         {"account": ["3"], "interval": ["30m"], "last": ["1"]}),
        (lambda db: db.gaps(start="2024-01-01"), "/v1/gaps", {"start": ["2024-01-01T00:00:00Z"]}),
        (lambda db: db.features("A", "1h", last=3, venue="v"), "/v1/features",
         {"symbol": ["A"], "interval": ["1h"], "last": ["3"], "venue": ["v"]}),
        (lambda db: db.latest(venue="v"), "/v1/latest", {"venue": ["v"]}),
        (lambda db: db.latest(("A", "B"), venue="v"), "/v1/latest", {"venue": ["v"], "symbol": ["A", "B"]}),
        (lambda db: db.latest("A"), "/v1/latest", {"symbol": ["A"]}),
        (lambda db: db.trades("A", last=1), "/v1/trades", {"symbol": ["A"], "last": ["1"]}),
        (lambda db: db.rankings("7d", "turnover", limit=3), "/v1/rankings",
         {"window": ["7d"], "measure": ["turnover"], "limit": ["3"]}),
        (lambda db: db.catalog("trades", venue="v"), "/v1/catalog", {"kind": ["trades"], "venue": ["v"]}),
    ],
)  # fmt: skip
def test_each_method_is_its_endpoint(
    playing: _Playing, ask: Callable[[Database], object], path: str, parameters: dict[str, list[str]]
) -> None:
    db, gateway = playing(streaming(stream(trades(1))))
    ask(db)
    assert gateway.paths[-1].partition("?")[0] == path
    assert gateway.asked == parameters


def test_a_venue_given_once_is_that_of_every_query_that_names_none(playing: _Playing) -> None:
    given, gateway = playing(streaming(stream(trades(1))))
    asks: list[Callable[[Database], object]] = [
        lambda db: db.trades("A", last=1),
        lambda db: db.quotes("A", last=1),
        lambda db: db.depth("A", last=1),
        lambda db: db.bars("A", "1m", last=1),
        lambda db: db.features(["A", "B"], "1m", last=1),
        lambda db: db.latest("A"),
    ]
    gateway.acts.insert(0, _OK)
    with tapehouse.connect(given.url, venue="v") as db:
        for ask in asks:
            ask(db)
            assert gateway.asked["venue"] == ["v"]
        db.trades("A", last=1, venue="w")
        assert gateway.asked["venue"] == ["w"]
        # All venues, unless one is named.
        db.gaps(start=0)
        assert "venue" not in gateway.asked
        db.catalog()
        assert "venue" not in gateway.asked
        gateway.acts[:] = [saying({"segments": []})]
        db.book("A")
        assert gateway.asked["venue"] == ["v"]
        db.explain("trades", "A", last=1)
        assert gateway.asked["venue"] == ["v"]


def test_a_name_that_is_not_stored_is_an_error_of_its_own(playing: _Playing) -> None:
    db, _ = playing(refusing(400, "unknown-series", "no A of v; near: B", "See the catalog."))
    with pytest.raises(UnknownSeriesError, match="near: B") as raised:
        db.trades("A", last=1, venue="v")
    assert raised.value.fields == {"symbol": "A"}


def test_a_plan_is_a_table_and_keeps_the_document(playing: _Playing) -> None:
    segment = {"store": "questdb", "start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00.5Z", "why": "hot",
               "statement": "SELECT 1", "rows": 10, "all_rows": 90, "all_bytes": 400,
               "quality": ["gaps", "revised"]}  # fmt: skip
    document = {"query": {"kind": "bars"}, "segments": [segment]}
    db, gateway = playing(saying(document))
    plan = db.explain("bars", "A", "2024-01-01", "2024-01-02", venue="v", interval="1m")
    assert gateway.asked["kind"] == ["bars"]
    assert plan.document == document
    assert plan.segments.select("store", "rows", "all_rows", "all_bytes", "quality", "statement").rows() == [
        ("questdb", 10, 90, 400, "gaps, revised", "SELECT 1")
    ]
    assert "questdb" in repr(plan)
    assert "SELECT 1" in plan._repr_html_()


def test_a_plan_for_accounts_asks_for_accounts(playing: _Playing) -> None:
    db, gateway = playing(saying({"segments": []}))
    assert db.explain("account_trades", "1", last=5).segments.is_empty()
    assert gateway.asked == {"kind": ["account_trades"], "account": ["1"], "last": ["5"]}


def test_a_book_is_the_document(playing: _Playing) -> None:
    db, gateway = playing(saying({"bids": [[1.0, 2.0]], "asks": []}))
    assert db.book("A", "2024-01-01", venue="v", depth=1) == {"bids": [[1.0, 2.0]], "asks": []}
    assert gateway.asked["at"] == ["2024-01-01T00:00:00Z"]


def test_a_database_shows_its_catalogue_in_a_bounded_table(playing: _Playing) -> None:
    rows = [("trades", "sim", f"S{number:04}", 10) for number in range(1000)]
    db, _ = playing(streaming(stream(catalog(rows))))
    said = repr(db)
    assert said.startswith(f"Tapehouse at {db.url}: 1,000 series, 10,000 rows\n")
    assert len(said.splitlines()) < 40
    assert max(map(len, said.splitlines())) <= 120
    assert "S0000" in said
    assert "S0999" in said
    assert "2001-09-09 01:46 " in said
    page = db._repr_html_()
    assert page is not None
    assert "1,000 series" in page
    assert page.count("<tr>") < 40


def test_showing_a_database_leaves_the_segments_of_the_last_answer(playing: _Playing) -> None:
    db, gateway = playing(streaming(stream(trades(1))))
    db.trades("A", last=1, venue="v")
    gateway.acts[:] = [streaming(stream(catalog([]), metadata={"segments": []}))]
    assert "0 series, 0 rows" in repr(db)
    assert db.segments.height == 2


def test_a_database_whose_gateway_has_gone_says_so_when_shown(playing: _Playing) -> None:
    db, _ = playing(refusing(504, "time-out", "stores: too slow"))
    assert repr(db) == f"Tapehouse at {db.url}: stores: too slow"
    assert db._repr_html_() is None


def test_an_answer_that_is_cut_is_no_frame_and_not_asked_for_again(playing: _Playing) -> None:
    whole = stream(trades(2500))
    db, gateway = playing(streaming(whole[: len(whole) // 2], ended=False))
    with pytest.raises(ConnectError, match="the answer was truncated"):
        db.trades("A", last=1, venue="v")
    assert len(gateway.paths) == 2
    assert db.segments.is_empty()


def test_an_answer_cut_at_a_batch_with_its_chunks_ended_is_no_frame(playing: _Playing) -> None:
    whole = stream(trades(2500))
    db, _ = playing(streaming(whole[:-8]))
    with pytest.raises(ConnectError, match="the answer was truncated"):
        db.trades("A", last=1, venue="v")


def test_misuse_is_told_by_the_gateway_with_its_remedy(playing: _Playing) -> None:
    db, _ = playing(refusing(400, "usage", "interval: expected 1m ...", "Choose one."))
    with pytest.raises(UsageError, match="interval: expected") as raised:
        db.bars("A", "7m", last=1, venue="v")
    assert raised.value.remedy == "Choose one."


def test_something_else_than_rows_is_refused(playing: _Playing) -> None:
    db, _ = playing(answering(200, b"<h1>", "text/html"))
    with pytest.raises(
        tapehouse.errors.TapehouseError, match=r"expected application/vnd\.apache\.arrow\.stream"
    ):
        db.trades("A", last=1, venue="v")


def test_it_can_be_used_in_a_with(playing: _Playing) -> None:
    db, _ = playing(hanging_up)
    with db as same:
        assert same is db


def test_a_database_can_be_pickled_with_its_venue(playing: _Playing) -> None:
    given, gateway = playing(streaming(stream(trades(1))))
    gateway.acts.insert(0, _OK)
    with (
        tapehouse.connect(given.url, venue="v") as db,
        pickle.loads(pickle.dumps(db)) as other,
    ):
        assert other.trades("A", last=1).equals(db.trades("A", last=1))
        assert gateway.asked["venue"] == ["v"]


def test_every_public_method_has_an_example() -> None:
    methods = [
        method
        for name, method in inspect.getmembers(Database, inspect.isfunction)
        if not name.startswith("_") and name not in ("close", "asof")
    ]
    assert len(methods) > 10
    assert [
        method.__name__ for method in methods if not re.search(r">>> .*\bdb\.", method.__doc__ or "")
    ] == []


def test_the_package_shows_what_it_is_for() -> None:
    assert dir(tapehouse) == ["__version__", "connect", "errors"]
    assert tapehouse.__version__ == version("tapehouse")
    with pytest.raises(AttributeError):
        tapehouse.nothing  # noqa: B018 - it raises


def test_the_client_needs_no_package_of_the_platform() -> None:
    code = (
        "import sys, tapehouse, tapehouse.client.address, tapehouse.client.database;"
        "print({'pyarrow', 'nats', 'fastapi', 'gateway', 'pandas', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_package_imports_nothing() -> None:
    code = (
        "import sys; import tapehouse; print({'polars', 'urllib3', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
