"""The whole of it: a server on a port, the real stores behind it, and urllib3 before it."""

from __future__ import annotations

import gzip
import io
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.mirror.cold_store import ColdStore
from gateway.query import QUERY_KINDS
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, MINUTE, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, GAPS, QUOTES, TRADES
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.conftest import Platform
from tests.gateway.serving import Client, gateway
from tests.waiting import DEADLINE_S

# Days that no other test touches: one that the cold store owns, and one years later.
_COLD, _HOT = parse_ns("1975-04-02"), parse_ns("2031-03-03")
_ROWS = 600


@dataclass(frozen=True)
class World:
    """A gateway, and what is in its stores."""

    client: Client
    venue: str
    trades: pl.DataFrame

    def rows(self, more: str = "", start: str = "1975-01-01", end: str = "2032-01-01") -> str:
        return f"/v1/trades?venue={self.venue}&symbol=S&start={start}&end={end}{more}"


@pytest.fixture(scope="module")
def world(provisioned: Platform, shared_cold: ClickHouse) -> Iterator[World]:
    venue = f"R{secrets.token_hex(4).upper()}"
    cold, hot = (_trades(venue, start) for start in (_COLD, _HOT))
    with_cold = provisioned.settings.model_copy(update={"clickhouse": shared_cold})
    _put_cold(shared_cold, cold)
    writer = QuestDBWriter(with_cold.questdb)
    others = [
        batch(kind, 30, venue=venue, start=_HOT, span=DAY) for kind in (QUOTES, DEPTH, GAPS, ACCOUNT_TRADES)
    ]
    with QuestReader(with_cold.questdb) as reader:
        for one in (hot, *others):
            assert writer.commit([one]) == []
            reader.wait_applied(one.kind.name)
    writer.close()
    with gateway(with_cold) as client:
        _until_ready(client)
        yield World(client, venue, pl.concat([as_frame(cold), as_frame(hot)]))


def _trades(venue: str, start: int) -> Batch:
    rows = _ROWS
    chance = np.random.default_rng(7)
    whole = batch(TRADES, rows, 7, venue=venue, start=start, span=DAY)
    usual: dict[str, Any] = {
        "ts_event": start + np.sort(chance.integers(0, 20 * MINUTE, rows)),
        "symbol": Strings.constant("S", rows),
        "seq": np.arange(rows) + 1,
        "price": chance.integers(1, 1_000, rows) / 8,
        "size": chance.integers(0, 100, rows) / 4,
        "flags": np.zeros(rows, np.int16),
    }
    return Batch(TRADES, venue, rows, {**whole.columns, **usual})


def _put_cold(settings: ClickHouse, rows: Batch) -> None:
    body = io.BytesIO()
    as_frame(rows).write_parquet(body)
    importer, ledger = ColdStore(settings), ClickHouseClient(settings)
    importer.insert(TRADES, "trades", body.getvalue())
    ledger.command(
        "INSERT INTO ledger (kind, day, owner, rows, fingerprint, marks, proven, revision) "
        f"VALUES ('trades', '1975-04-02', 'cold', {rows.rows}, 'f', '{{}}', 1, 1)"
    )
    importer.close()
    ledger.close()


def _until_ready(client: Client) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (answer := client.get("/readyz")).status != 200:
        assert answer.status == 503
        assert answer.headers["retry-after"] == "2"
        if time.monotonic() > deadline:
            raise ConnectError(f"the gateway was not ready in time: {answer.data!r}")
        time.sleep(0.05)


def _arrow(data: bytes) -> pl.DataFrame:
    frame = pl.from_arrow(pa.ipc.open_stream(data).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _texts(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.with_columns(pl.col("ts_event", "ts_recv").dt.to_string("%Y-%m-%dT%H:%M:%S%.9fZ")).to_dicts()


def test_every_format_has_the_rows_of_both_stores_in_order(world: World) -> None:
    expected = world.trades
    answer = world.client.get(world.rows("&format=arrow"))
    assert _arrow(answer.data).equals(expected)
    stores = [segment["store"] for segment in json.loads(answer.headers["tapehouse-segments"])]
    assert stores == ["clickhouse", "questdb"]
    assert answer.headers["server-timing"].startswith("plan;dur=")

    page = world.client.json(world.rows())
    assert page["rows"] == _texts(expected)
    assert page["next"] is None
    assert [segment["rows"] for segment in page["segments"]] == [_ROWS, _ROWS]

    lines = world.client.get(world.rows(), "text/csv")
    assert lines.headers["content-type"] == "text/csv; charset=utf-8"
    found = pl.read_csv(io.BytesIO(lines.data), infer_schema=False)
    assert found["ts_event"].to_list() == [row["ts_event"] for row in _texts(expected)]
    assert found["price"].cast(pl.Float64).to_list() == expected["price"].to_list()

    file = world.client.get(world.rows(), "application/vnd.apache.parquet")
    assert pl.read_parquet(io.BytesIO(file.data)).equals(expected)

    documents = list(msgpack.Unpacker(io.BytesIO(world.client.get(world.rows("&format=msgpack")).data)))
    prices = [
        price for columns in documents[1:-1] for price in columns[documents[0]["columns"].index("price")]
    ]
    assert prices == expected["price"].to_list()


def test_pages_follow_one_another_without_a_row_twice_or_missing(world: World) -> None:
    rows, cursor, pages = [], "", 0
    while cursor is not None:
        page = world.client.json(world.rows(f"&limit=170&cursor={cursor}" if cursor else "&limit=170"))
        rows += page["rows"]
        cursor, pages = page["next"], pages + 1
    assert rows == _texts(world.trades)
    assert pages == 8


def test_the_last_rows_columns_and_a_span(world: World) -> None:
    page = world.client.json(world.rows("&columns=price&columns=seq", start="2031-03-03T00:10:00Z"))
    cut = world.trades.filter(pl.col("ts_event") >= pl.lit(_HOT + 10 * MINUTE).cast(pl.Datetime("ns", "UTC")))
    assert page["rows"] == cut.select("seq", "price").to_dicts()
    last = world.client.json(f"/v1/trades?venue={world.venue}&symbol=S&last=5")
    assert last["rows"] == _texts(world.trades.tail(5))


@pytest.mark.parametrize("start", ["2031-03-03T02:10:00+02:00", "2031-03-03T02:10:00%2B02:00"])
def test_an_offset_may_be_written_as_people_do(world: World, start: str) -> None:
    rows = world.client.json(world.rows(start=start))["rows"]
    assert rows == world.client.json(world.rows(start="2031-03-03T00:10:00Z"))["rows"] != []


def test_what_cannot_change_is_not_sent_twice(world: World) -> None:
    path = world.rows(end="1975-05-01")
    first = world.client.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Accept, Accept-Encoding"
    for known in (tag, f'"x", W/{tag}', "*"):
        again = world.client.get(path, if_none_match=known)
        assert (again.status, again.data, again.headers["etag"]) == (304, b"", tag)
    assert world.client.get(path, if_none_match='"other"').json()["rows"] == first.json()["rows"]
    tags = {world.client.get(path, accept).headers["etag"] for accept in ("text/csv", "application/msgpack")}
    tags.add(world.client.get(path, accept_encoding="gzip").headers["etag"])
    assert len(tags | {tag}) == 4
    assert "etag" not in world.client.get(world.rows()).headers


def test_answers_are_encoded_as_asked(world: World) -> None:
    plain = world.client.get(world.rows("&format=csv"), accept_encoding="identity")
    assert "content-encoding" not in plain.headers
    for name, unpack in (
        ("gzip", gzip.decompress),
        ("zstd", zstandard.ZstdDecompressor().decompressobj().decompress),
    ):
        answer = world.client.pool.request(
            "GET",
            world.client.url + world.rows("&format=csv"),
            headers={"Accept-Encoding": name},
            decode_content=False,
        )
        assert answer.headers["content-encoding"] == name
        assert unpack(answer.data) == plain.data


def test_bars_are_those_of_their_trades(world: World) -> None:
    path = f"/v1/bars?venue={world.venue}&symbol=S&start=2031-03-03&end=2031-03-04&interval=1m"
    bars = _arrow(world.client.get(f"{path}&format=arrow").data)
    hot = world.trades.tail(_ROWS)
    assert bars["volume"].sum() == hot["size"].sum()
    assert bars["open"][0] == hot["price"][0]
    assert bars["close"][-1] == hot["price"][-1]
    page = world.client.json(path)
    assert [row["close"] for row in page["rows"]] == bars["close"].to_list()
    last = world.client.json(f"/v1/bars?venue={world.venue}&symbol=S&last=2&interval=5m")
    # The first of them starts the day before.
    merged = world.client.json(path.replace("=1m", "=7m").replace("start=2031-03-03", "start=2031-03-02"))[
        "rows"
    ]
    assert sum(row["trades"] for row in merged) == hot.height
    assert {int(parse_ns(row["ts"])) % (7 * MINUTE) for row in merged} == {0}
    # The day is to come.
    assert [row["final"] for row in last["rows"]] == [False, False]
    final = world.client.json(f"/v1/bars?venue={world.venue}&symbol=S&last=2&interval=5m&open=false")
    assert [row["ts"][:10] for row in final["rows"]] == ["1975-04-02"] * 2
    assert [row["final"] for row in final["rows"]] == [True, True]
    lines = world.client.get(f"{path}&format=csv").data.decode().splitlines()
    assert {line.rpartition(",")[2] for line in lines} == {"final", "false"}


@pytest.mark.parametrize(
    "kind", [kind for kind in QUERY_KINDS if kind not in ("trades", "bars", "account_candles")]
)
def test_every_kind_is_served(world: World, kind: str) -> None:
    stored = batch(
        {kind.name: kind for kind in (QUOTES, DEPTH, GAPS, ACCOUNT_TRADES)}[kind],
        30,
        venue=world.venue,
        start=_HOT,
        span=DAY,
    )
    symbols = sorted({*stored.strings("symbol").to_list()}) if kind != "account_trades" else []
    accounts = sorted({*map(str, stored.array("account_id").tolist())}) if kind == "account_trades" else []
    asked: list[tuple[str, str]] = [("start", "2031-03-03"), ("end", "2031-03-05"), ("format", "arrow")]
    asked += [("account", account) for account in accounts] + [("symbol", str(symbol)) for symbol in symbols]
    if not accounts:
        asked.append(("venue", world.venue))
    answer = world.client.pool.request("GET", f"{world.client.url}/v1/{kind}", fields=asked)
    assert answer.status == 200, answer.data
    found = _arrow(answer.data)
    assert found.columns == list(stored.kind.names)
    assert found.height == as_frame(stored).unique(stored.kind.key).height


def test_the_last_price_of_a_symbol_that_is_not_live_is_the_stores(world: World) -> None:
    path = f"/v1/latest?venue={world.venue}&symbol=S"
    newest = _texts(world.trades.tail(1))[0]
    [row] = world.client.json(path)["rows"]
    assert row == {
        name: newest[name] for name in ("venue", "symbol", "ts_event", "ts_recv", "seq", "price", "size")
    }
    assert _arrow(world.client.get(f"{path}&format=arrow").data)["price"].to_list() == [newest["price"]]
    assert world.client.json(f"/v1/latest?venue={world.venue}") == {"rows": []}


@pytest.mark.parametrize(
    "path",
    ["trades?last=1", "bars?last=1&interval=1m", "quotes?start=0", "depth?last=2&format=arrow", "latest?", "book?",
     "features?last=1&interval=1m"],
)  # fmt: skip
def test_a_wrong_name_is_a_problem_that_names_near_ones(world: World, path: str) -> None:
    problem = world.client.json(f"/v1/{path}&venue={world.venue}&symbol=s_", 400)
    assert problem["type"] == "/problems/unknown-series"
    assert problem["detail"].startswith(f"no s_ of {world.venue}; near: S")
    assert "/v1/catalog" in problem["remedy"]
    wrong = world.client.json(f"/v1/{path}&venue={world.venue}x&symbol=S", 400)
    assert wrong["detail"].startswith(f"no venue {world.venue}x; near: {world.venue}")


def test_a_venue_that_is_left_out_is_looked_for(world: World) -> None:
    found = world.client.get("/v1/trades?symbol=S&last=1")
    said = found.json()
    # Other tests of the platform may have a symbol of that name.
    assert found.status == 200 or said["detail"].startswith("venue: expected one of ")
    said = world.client.json("/v1/trades?symbol=nobody%20has%20it&last=1", 400)
    assert said["detail"].startswith("no nobody has it; ")
    assert world.client.json(f"/v1/catalog?venue={world.venue}x", 400)["type"] == "/problems/unknown-series"


def test_lookups(world: World) -> None:
    listed = world.client.json(f"/v1/catalog?kind=trades&venue={world.venue}")["rows"]
    assert [(row["kind"], row["venue"], row["symbol"]) for row in listed] == [("trades", world.venue, "S")]
    explained = world.client.json(f"/v1/explain?kind=trades&venue={world.venue}&symbol=S&start=1975-01-01")
    custom = world.client.json(
        f"/v1/explain?kind=bars&interval=90m&venue={world.venue}&symbol=S&start=1975-01-01"
    )
    assert (custom["query"]["interval"], custom["query"]["merged_from"]) == ("90m", "30m")
    assert "merged_from" not in explained["query"]
    assert [segment["store"] for segment in explained["segments"]] == ["clickhouse", "questdb"]
    # Of the symbol alone, whatever else the stores have of those days.
    counted = int((world.trades["flags"] & 3 == 0).sum())
    assert sum(segment["rows"] for segment in explained["segments"]) == counted == listed[0]["rows"]
    assert sum(segment["all_rows"] for segment in explained["segments"]) >= counted
    newest = world.trades.filter(pl.col("flags") & 3 == 0).tail(1)
    assert listed[0]["last"] == _texts(newest)[0]["ts_event"]
    path = f"/v1/features?venue={world.venue}&symbol=S&interval=1m&start=2031-03-03&end=2031-03-04"
    features = world.client.json(path)["rows"]
    assert len(features) == len(world.client.json(path.replace("features", "bars"))["rows"])
    assert {row["symbol"] for row in features} == {"S"}
    assert world.client.json(path.replace("symbol=S", "symbol=*"))["rows"] == features
    wrong = world.client.json(path.replace("symbol=S", "symbol=S&symbol=T_"), 400)
    assert wrong["detail"].startswith(f"no T_ of {world.venue}")
    assert features == _read_back(_arrow(world.client.get(f"{path}&format=arrow").data))
    assert world.client.json("/v1/rankings") == {"rows": []}


def _read_back(frame: pl.DataFrame) -> list[dict[str, Any]]:
    text = frame.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.9fZ")).write_json()
    return list(json.loads(text))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/trades", "symbol: expected a value"),
        ("/v1/bars?symbol=1m&interval=S&last=1", "interval: expected one of"),
        ("/v1/trades?venue=V&symbol=*&start=0&format=csv", "end: expected an end, limit or last"),
        ("/v1/trades?venue=V&symbol=S", "start: expected a time, or last"),
        ("/v1/trades?venue=V&symbol=S&start=2024-01-01T00:00:00", "has no zone"),
        ("/v1/trades?venue=V&symbol=S&start=2024-01-02&end=2024-01-01", "end: expected a time after"),
        ("/v1/trades?venue=V&symbol=S&start=2024&nonsense=1", "nonsense: there is no such parameter"),
        ("/v1/trades?venue=V&venue=W&symbol=S&last=1", "venue: expected once, was 2 times"),
        ("/v1/trades?venue=&symbol=S&last=1", "venue: expected 1 to 256 characters"),
        ("/v1/trades?venue=V&symbol=%00&last=1", "symbol: expected 1 to 256 characters"),
        ("/v1/trades?venue=V&symbol=%ff&last=1", "UTF-8"),
        ("/v1/trades?venue=V&symbol=S&last=1&limit=1", "limit: expected none beside last"),
        ("/v1/trades?venue=V&symbol=S&last=-1", "last: expected 1 to"),
        ("/v1/trades?venue=V&symbol=S&last=%D9%A1", "last: expected 1 to"),
        (
            "/v1/trades?venue=V&symbol=S&start=2024-01-01&limit=100001",
            "limit: expected at most 100,000 for JSON",
        ),
        (
            "/v1/trades?venue=V&symbol=S&start=2024-01-01&cursor=x",
            "cursor: expected the `next` of the page before",
        ),
        ("/v1/trades?venue=V&symbol=S&start=2024-01-01&columns=nothing", "columns: expected one of ts_event"),
        ("/v1/trades?venue=V&symbol=S&start=2024-01-01&format=xml", "format: expected one of"),
        ("/v1/bars?venue=V&symbol=S&last=1", "interval: expected a value"),
        ("/v1/bars?venue=V&symbol=S&last=1&interval=10s", "interval: expected one of 15s"),
        ("/v1/explain?kind=bars&venue=V&symbol=S&last=1&interval=25h", "or a whole number of minutes"),
        ("/v1/features?venue=V&symbol=S&last=1&interval=7m", "interval: expected one of 15s"),
        ("/v1/account_trades?account=x&last=1", "account: expected text that matches ^[0-9]{1,19}$"),
        ("/v1/rankings?window=2h", "window: expected one of"),
        ("/v1/rankings?limit=501", "limit: expected 1 to 500"),
        ("/v1/book?venue=V&symbol=S&depth=0", "depth: expected 1 to"),
        ("/v1/book?venue=V&symbol=S", "no venue V; "),
        ("/v1/catalog?kind=ticks", "kind: expected one of"),
        ("/v1/explain?kind=ticks", "kind: expected one of"),
        ("/v1/features?venue=V&symbol=S&symbol=S&interval=1m&last=1", "symbol: expected each once"),
        ("/v1/features?venue=V&interval=1m&last=1", "symbol: expected a value"),
    ],
)
def test_what_cannot_be_asked_is_a_problem_that_says_what_can(world: World, path: str, said: str) -> None:
    answer = world.client.get(path)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    problem = answer.json()
    assert said in problem["detail"]
    assert set(problem) == {"type", "title", "status", "detail", "remedy", "fields"}
    assert problem["status"] == 400


def test_paths_methods_and_formats_that_are_not_there(world: World) -> None:
    client = world.client
    assert client.get("/nothing").json()["type"] == "/problems/not-found"
    assert client.get("/v1/trades/").status == 404
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        answer = client.pool.request(method, f"{client.url}/v1/trades")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
    refused = client.get(world.rows(), "image/png")
    assert (refused.status, refused.json()["type"]) == (406, "/problems/not-acceptable")
    assert client.get("/v1/explain?kind=trades&venue=V&symbol=S&last=1", "text/csv").status == 406


def test_the_description_is_of_what_is_there(world: World) -> None:
    described = world.client.json("/openapi.json")
    assert described["openapi"].startswith("3.1")
    for path, methods in described["paths"].items():
        operation = methods["get"]
        assert "422" not in operation["responses"]
        # A parameter that is described is known; one that is not is refused.
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                assert f"{{{parameter['name']}}}" in path
                continue
            answer = world.client.get(f"{path}?{parameter['name']}=")
            assert b"there is no such parameter" not in answer.data
        answer = world.client.get(f"{path}?surplus=1")
        documented = operation["responses"][str(answer.status)]["content"]
        assert answer.headers["content-type"].partition(";")[0] in documented


_NAMES = ("venue", "symbol", "account", "start", "end", "last", "limit", "columns", "interval", "fill", "flags",
          "cursor", "format", "kind", "window", "measure", "at", "depth")  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["S", "1", "0", "-1", "2031-03-03", "2031-03-04T00:00:00Z", "1m", "1M", "flat", "arrow", "csv",
                     "trades", "bars", "price", "24h", "change", "9" * 19, "1e5", "W10"]),
    st.text(max_size=12),
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.sampled_from([*QUERY_KINDS, "latest", "rankings", "book", "catalog", "explain", "features"]),
    st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=8),
    st.sampled_from(["", "*/*", "text/csv", "x;q=y", "application/json"]),
)
def test_no_input_is_a_defect(world: World, path: str, fields: list[tuple[str, str]], accept: str) -> None:
    headers = {"Accept": accept} if accept else {}
    answer = world.client.pool.request("GET", f"{world.client.url}/v1/{path}", fields=fields, headers=headers)
    assert answer.status in (200, 400, 406), (answer.status, answer.data)
