"""Talking to ClickHouse: what it refuses and where it is away are errors of ours with the way out."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from tapehouse.errors import ColdStoreError, ConnectError
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient


@pytest.fixture
def client(shared_cold: ClickHouse) -> Iterator[ClickHouseClient]:
    client = ClickHouseClient(shared_cold)
    yield client
    client.close()


@pytest.fixture
def table(client: ClickHouseClient, venue: str) -> str:
    """Of the test's own: a number and a text."""
    client.command(f"CREATE TABLE {venue} (x Int64, said String) ENGINE = MergeTree ORDER BY x")
    return venue


def _parquet(rows: int, **columns: pl.Series) -> bytes:
    body = io.BytesIO()
    said = pl.Series([f"{row * 2654435761 % 2**32:x}" * 8 for row in range(rows)])
    pl.DataFrame({"x": pl.Series(range(rows), dtype=pl.Int64), "said": said, **columns}).write_parquet(body)
    return body.getvalue()


def _count(client: ClickHouseClient, table: str) -> int:
    ((rows,),) = client.fetch(f"SELECT count() FROM {table}")
    return int(rows)


def test_rows_go_in_and_come_out(client: ClickHouseClient, table: str) -> None:
    client.insert(table, _parquet(1000))
    assert _count(client, table) == 1000
    assert client.fetch(f"SELECT x FROM {table} WHERE x < {{below:Int64}} ORDER BY x", {"below": 3}) == [
        (0,),
        (1,),
        (2,),
    ]
    frame = pl.read_ipc_stream(io.BytesIO(client.arrow(f"SELECT x FROM {table} ORDER BY x")))
    assert frame["x"].to_list() == list(range(1000))
    assert client.fetch(f"SELECT x FROM {table} WHERE x < 0") == []


def test_what_is_bound_is_a_value_whatever_it_says(client: ClickHouseClient) -> None:
    for said in ("'; DROP TABLE trades; --", "\\", "a\nb\tc", "ÄÖ☃𝄞", "{x:String}", ""):
        assert client.fetch("SELECT {said:String}", {"said": said}) == [(said,)]


def test_many_threads_speak_at_a_time(client: ClickHouseClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: client.fetch(f"SELECT {number}, sleep(0.01)"), range(40)))
    assert [rows[0][0] for rows in answers] == list(range(40))


def test_a_closed_client_opens_again(client: ClickHouseClient) -> None:
    for _ in range(2):
        assert client.fetch("SELECT 1") == [(1,)]
        client.close()


def test_a_statement_that_is_refused_says_why_in_one_line(client: ClickHouseClient) -> None:
    for ask in (client.command, client.fetch, client.arrow):
        with pytest.raises(ColdStoreError, match=r"^clickhouse: .*missing_table") as refusal:
            ask("SELECT * FROM missing_table")
        assert refusal.value.fields == {"code": 60}
        assert len(refusal.value.message) < 600
        assert "\n" not in refusal.value.message


def test_an_error_after_the_first_rows_is_an_error(client: ClickHouseClient) -> None:
    statement = (
        "SELECT number, throwIf(number = 3000000) FROM numbers(5000000) SETTINGS max_block_size = 1000"
    )
    for ask in (client.fetch, client.arrow):
        with pytest.raises(ColdStoreError) as refusal:
            ask(statement)
        assert refusal.value.fields == {"code": 395}


def test_too_little_memory_names_the_remedy(client: ClickHouseClient) -> None:
    with pytest.raises(ColdStoreError) as refusal:
        client.fetch("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000")
    assert refusal.value.fields == {"code": 241}
    assert "side_by_side" in refusal.value.remedy


@pytest.mark.parametrize("change", [{"password": SecretStr("wrong")}, {"user": "nobody"}])
def test_a_wrong_account_is_refused_and_its_password_is_not_told(
    shared_cold: ClickHouse, change: dict[str, Any]
) -> None:
    client = ClickHouseClient(shared_cold.model_copy(update=change))
    with pytest.raises(ColdStoreError) as refusal:
        client.fetch("SELECT 1")
    assert refusal.value.fields == {"code": 516}
    assert "connections.toml" in refusal.value.remedy
    assert "wrong" not in str(refusal.value)
    client.close()


def test_a_server_that_is_away_is_said_with_the_way_out(shared_cold: ClickHouse) -> None:
    with socket.socket() as taken:
        # Bound, and nobody listens.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = ClickHouseClient(shared_cold.model_copy(update={"http_port": port}))
        for ask in (client.command, client.fetch, client.arrow, lambda said: client.insert(said, b"")):
            with pytest.raises(
                ConnectError, match=rf"^clickhouse: no answer from 127\.0\.0\.1:{port}: "
            ) as reason:
                ask("SELECT 1")
            assert "tapehouse up" in reason.value.remedy
        client.close()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_parquet_file_that_was_cut_is_refused(client: ClickHouseClient, table: str, part: float) -> None:
    whole = _parquet(20_000)
    with pytest.raises(ColdStoreError):
        client.insert(table, whole[: int(len(whole) * part)])
    assert _count(client, table) == 0


def test_a_parquet_file_with_a_damaged_page_is_refused_or_read_otherwise(
    client: ClickHouseClient, table: str
) -> None:
    """ClickHouse does not always see it: what is stored must be compared with what was sent."""
    body = bytearray(_parquet(20_000))
    body[len(body) // 2] ^= 0xFF
    try:
        client.insert(table, bytes(body))
    except ColdStoreError:
        assert _count(client, table) == 0


def test_a_column_that_a_file_lacks_is_not_made_up(client: ClickHouseClient, table: str) -> None:
    body = io.BytesIO()
    pl.DataFrame({"x": pl.Series([1], dtype=pl.Int64)}).write_parquet(body)
    with pytest.raises(ColdStoreError):
        client.insert(f"{table} (x, said) SELECT x, said FROM input('x Int64, said String')", body.getvalue())
    assert _count(client, table) == 0


@pytest.mark.parametrize("source", ["", " SELECT x, said FROM input('x Int64, said String')"])
def test_an_absent_value_is_not_made_up(client: ClickHouseClient, table: str, source: str) -> None:
    with pytest.raises(ColdStoreError):
        client.insert(table + source, _parquet(3, said=pl.Series(["a", None, "c"])))
    assert _count(client, table) == 0
