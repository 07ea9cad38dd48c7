"""Pages of bars from memory: to the client the same as those from the stores."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import zstandard

from gateway.answers.answer import QueryAnswer
from gateway.query import Query
from gateway.rest.readers import Limits
from tapehouse.clock import DAY, iso, parse_ns
from tapehouse.model import TRADES
from tests.gateway.serving import Client, application_of
from tests.gateway.world import World, trades_of

_DAY = parse_ns("2024-02-26")


@dataclass
class _Surface:
    world: World

    def answer(self, query: Query) -> QueryAnswer:
        return QueryAnswer(query, self.world)


@pytest.fixture
def world() -> World:
    return World({TRADES.name: trades_of("A", _DAY, 3, 4_000)})


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with application_of(_Surface(world), Limits()) as client:
        yield client


def _path(**more: str) -> str:
    asked = {
        "venue": "V",
        "symbol": "A",
        "interval": "1m",
        "start": iso(_DAY + DAY),
        "end": iso(_DAY + 2 * DAY),
    }
    return "/v1/bars?" + urlencode(asked | more)


def _without_times(page: Any) -> Any:
    for segment in page["segments"]:
        for name in ("ms", "cached"):
            segment.pop(name, None)
    return page


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_page_from_memory_has_the_rows_and_headers_of_one_from_the_stores(
    world: World, client: Client, encoding: str
) -> None:
    decode = {
        "identity": lambda body: body,
        "gzip": lambda body: zlib.decompress(body, 31),
        "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    }[encoding]
    answers = [
        client.pool.request(
            "GET",
            client.url + _path(),
            headers={"Accept-Encoding": encoding},
            decode_content=False,
        )
        for _ in range(3)
    ]
    pages = [json.loads(decode(answer.data)) for answer in answers]
    assert [page["segments"][0]["cached"] for page in pages] == [
        0,
        len(pages[0]["rows"]),
        len(pages[0]["rows"]),
    ]
    assert all(_without_times(page) == _without_times(pages[0]) for page in pages)
    assert all(sorted(answer.headers) == sorted(answers[0].headers) for answer in answers)
    for name in ("content-type", "content-encoding", "vary", "cache-control"):
        assert len({answer.headers.get(name) for answer in answers}) == 1


def test_a_page_from_memory_follows_its_limit(world: World, client: Client) -> None:
    whole = client.json(_path())
    rows = whole["rows"]
    for limit in (len(rows) - 1, len(rows), len(rows) + 1):
        page = client.json(_path(limit=str(limit)))
        assert page["rows"] == rows[:limit]
        assert (page["next"] is None) == (limit >= len(rows))
