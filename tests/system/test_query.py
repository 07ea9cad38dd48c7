"""The same answers by the command line with and without a gateway, and by the Python client."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import tapehouse
from ops.cli.query import command
from tapehouse.clock import SECOND, iso, parse_ns
from tapehouse.errors import ConnectError, UnknownSeriesError, UsageError
from tests.system.up import Up

_DAY = "2024-03-05"
_START = parse_ns(_DAY)
_SYMBOLS = ("A", "B/Ü")
_ROWS = 4000


@pytest.fixture(scope="module")
def venue(up: Up, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A venue with trades and quotes of two symbols, in turns, a second apart."""
    folder = tmp_path_factory.mktemp("query")
    trades = [
        f"{iso(_START + n * SECOND)},{_SYMBOLS[n % 2]},{n % 7 + 0.25},{n % 3 + 1},{n}" for n in range(_ROWS)
    ]
    (folder / "trades.csv").write_text("\n".join(["ts,symbol,price,size,seq", *trades]))
    quotes = [f"{iso(_START + n * 10 * SECOND + 1)},A,{n},1,{n + 1},2,{n}" for n in range(_ROWS // 10)]
    (folder / "quotes.csv").write_text("\n".join(["ts,symbol,bid,bid_size,ask,ask_size,seq", *quotes]))
    up.run("ingest", str(folder / "trades.csv"), "--venue", "QV")
    up.run("ingest", str(folder / "quotes.csv"), "--venue", "QV", "--kind", "quotes")
    up.until(
        lambda: (
            up.query("quotes", "A", "QV", _DAY, "2024-03-06").height == _ROWS // 10
            and up.query("trades", "A", "QV", _DAY, "2024-03-06").height == _ROWS // 2
        ),
        "the rows to be stored",
        60,
    )
    return "QV"


def _asked(up: Up, gateway: bool, *words: str) -> str:
    """What the command prints."""
    env = {"TAPEHOUSE_HOME": str(up.home), **({} if gateway else {"TAPEHOUSE_GATEWAY__URL": ""})}
    done = CliRunner().invoke(command, words, env=env)
    assert done.exit_code == 0, f"{words}: {done.exception!r}\n{done.output}"
    return done.output


def _both(up: Up, *words: str) -> str:
    """What the command prints, with and without a gateway."""
    said = _asked(up, True, *words)
    assert _asked(up, False, *words) == said
    return said


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("trades", "A,B/Ü", "--start", _DAY), _ROWS),
        (("trades", "A,B/Ü", "--start", _DAY, "--end", f"{_DAY}T00:00:10Z"), 10),
        (("trades", "A", "--last", "7"), 7),
        (("trades", "B/Ü", "--start", _DAY, "--limit", "9", "--columns", "seq,price"), 9),
        (("trades", "A", "--start", _DAY, "--flags", "3"), _ROWS // 2),
        (("quotes", "A", "--start", _DAY, "--end", "2024-03-06"), _ROWS // 10),
        (("depth", "A", "--start", _DAY), 0),
        (("bars", "A,B/Ü", "--start", _DAY, "--end", "2024-03-06", "--interval", "1h"), 4),
        (
            (
                "bars",
                "A",
                "--start",
                _DAY,
                "--end",
                f"{_DAY}T02:00:00Z",
                "--interval",
                "1m",
                "--fill",
                "flat",
            ),
            120,
        ),
        (("gaps", "--start", _DAY, "--end", "2024-03-06"), 0),
    ],
)
def test_with_and_without_a_gateway_the_answer_is_the_same(
    up: Up, venue: str, words: tuple[str, ...], rows: int
) -> None:
    said = _both(up, *words, "--venue", venue)
    assert len(said.splitlines()) == 1 + rows


@pytest.mark.parametrize("gateway", [True, False])
def test_a_wrong_name_is_an_error_with_near_ones_and_a_venue_may_be_left_out(
    up: Up, venue: str, gateway: bool
) -> None:
    env = {"TAPEHOUSE_HOME": str(up.home), **({} if gateway else {"TAPEHOUSE_GATEWAY__URL": ""})}
    for words, said in (
        (("trades", "B/U", "--venue", venue, "--start", _DAY), f"no B/U of {venue}; near: B/Ü"),
        (("bars", "A", "--venue", "QW", "--start", _DAY, "--interval", "1h"), "no venue QW; "),
        (("quotes", venue, "--venue", "A", "--last", "1"), "no venue A; QV is a venue and A a symbol"),
    ):
        done = CliRunner().invoke(command, words, env=env)
        assert isinstance(done.exception, UnknownSeriesError)
        assert done.exception.message.startswith(said)
        assert done.output == ""
    ask = ("trades", "B/Ü", "--start", _DAY)
    assert _asked(up, gateway, *ask) == _asked(up, gateway, *ask, "--venue", venue)
    every = _asked(up, gateway, "trades", "*", "--venue", venue, "--start", _DAY, "--end", "2024-03-06")
    assert len(every.splitlines()) == 1 + _ROWS
    assert len(_asked(up, gateway, "trades", "A,B/Ü", "--start", "2024-03-06").splitlines()) == 1


@pytest.mark.parametrize("gateway", [True, False])
def test_every_file_has_the_same_rows(up: Up, venue: str, tmp_path: Path, gateway: bool) -> None:
    ask = ("trades", "A,B/Ü", "--venue", venue, "--start", _DAY)
    for suffix in ("csv", "parquet", "arrow"):
        out = tmp_path / f"a.{suffix}"
        assert _asked(up, gateway, *ask, "--out", str(out)) == f"4,000 rows to {out} (read: questdb 4,000)\n"
    parquet = pl.read_parquet(tmp_path / "a.parquet")
    assert parquet["seq"].to_list() == list(range(_ROWS))
    assert pl.read_ipc(tmp_path / "a.arrow").equals(parquet)
    assert (tmp_path / "a.csv").read_text() == _asked(up, gateway, *ask, "--out", "-")
    assert pl.read_csv(io.BytesIO((tmp_path / "a.csv").read_bytes()))["price"].equals(parquet["price"])


def test_a_plan_names_the_store_the_span_and_the_statement(up: Up, venue: str) -> None:
    said = json.loads(
        _both(up, "trades", "A", "--venue", venue, "--start", _DAY, "--end", "2024-03-06", "--explain")
    )
    (segment,) = said["segments"]
    assert (segment["store"], segment["start"], segment["end"]) == (
        "questdb",
        "2024-03-05T00:00:00Z",
        "2024-03-06T00:00:00Z",
    )
    assert "FROM trades" in segment["statement"]


def test_the_client_gives_the_stores_rows_as_polars(up: Up, venue: str) -> None:
    with tapehouse.connect(home=up.home) as db:
        assert repr(db).startswith(f"Tapehouse at {db.url}: ")
        assert venue in db.catalog("trades")["venue"].to_list()
        for symbol in _SYMBOLS:
            found = db.trades(symbol, _DAY, "2024-03-06", venue=venue)
            assert found.equals(up.query("trades", symbol, venue, _DAY, "2024-03-06").select(found.columns))
        assert db.segments["store"].to_list() == ["questdb"]
        assert db.segments["rows"].to_list() == [_ROWS // 2]

        both = db.trades(_SYMBOLS, last=10, venue=venue)
        assert both["seq"].to_list() == list(range(_ROWS - 20, _ROWS))
        bars = db.bars("A", "1h", _DAY, "2024-03-06", venue=venue)
        assert bars.equals(up.query("bars", "A", venue, _DAY, "2024-03-06", interval="1h"))
        merged = db.bars("A", "7m", _DAY, "2024-03-06", venue=venue)
        assert merged.equals(up.query("bars", "A", venue, _DAY, "2024-03-06", interval="7m"))
        assert 0 < merged.height < db.bars("A", "5m", _DAY, "2024-03-06", venue=venue).height
        assert db.features("A", "1h", _DAY, "2024-03-06", venue=venue)["ts"].equals(bars["ts"])
        both = db.features(_SYMBOLS, "1h", _DAY, "2024-03-06", venue=venue)
        alone = db.features("A", "1h", _DAY, "2024-03-06", venue=venue)
        assert both.filter(pl.col("symbol") == "A").equals(alone)
        assert db.explain("trades", "A", _DAY, venue=venue).segments["end"].to_list() == [None]
        found = db.catalog("trades", venue=venue)
        assert found.select("symbol", "rows").rows() == [("A", _ROWS // 2), ("B/Ü", _ROWS // 2)]
        for symbol, first, last in found.select("symbol", "first", "last").iter_rows():
            times = db.trades(symbol, _DAY, venue=venue)["ts_event"]
            assert (first, last) == (times.min(), times.max())
        assert db.gaps(start=_DAY, end="2024-03-06", venue=venue).is_empty()
        assert db.account_trades(2**60, last=1).is_empty()

        quotes = db.quotes("A", _DAY, venue=venue)
        joined = db.asof(db.trades("A", _DAY, venue=venue), quotes)
        # A quote is a nanosecond behind each tenth second.
        assert joined["seq_quote"].to_list() == [
            None if n == 0 else (n - 1) // 10 for n in range(0, _ROWS, 2)
        ]


def test_the_client_tells_misuse_as_the_stores_would(up: Up, venue: str) -> None:
    with tapehouse.connect(home=up.home) as db:
        with pytest.raises(UsageError, match="15s 30s 1m"):
            db.bars("A", "10s", _DAY, venue=venue)
        with pytest.raises(UsageError, match="15s 30s 1m"):
            db.features("A", "7m", _DAY, venue=venue)
        with pytest.raises(UsageError, match="book: expected a snapshot") as raised:
            db.book("A", _DAY, venue=venue)
        assert raised.value.remedy
        with pytest.raises(UnknownSeriesError, match=f"no {venue}; {venue} is a venue: write venue="):
            db.latest(venue)
        with pytest.raises(UnknownSeriesError, match=f"no AA of {venue}; near: A"):
            db.latest(["A", "AA"], venue=venue)
        with pytest.raises(UnknownSeriesError, match="no venue QW;"):
            db.catalog(venue="QW")


def test_without_a_platform_the_client_says_which_command_starts_one(tmp_path: Path) -> None:
    with pytest.raises(ConnectError) as raised:
        tapehouse.connect(home=tmp_path)
    assert f"`tapehouse up --home {tmp_path}`" in raised.value.remedy
