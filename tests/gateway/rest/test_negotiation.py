"""Formats and encodings by what clients send."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.negotiation import MEDIA, negotiate_encoding, negotiate_format
from gateway.rest.problems import ProblemError
from tapehouse.errors import UsageError

_ALL = tuple(MEDIA)
_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        (_BROWSER, "json"),
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/msgpack", "msgpack"),
        ("application/x-msgpack", "msgpack"),
        ("text/*", "csv"),
        ("application/*", "json"),
        ("application/json;q=0.5, text/csv;q=0.9", "csv"),
        ("application/json;q=0, */*", "csv"),
        ("image/png, text/csv;q=0.1", "csv"),
        (" , text/csv ,", "csv"),
    ],
)
def test_the_most_wanted_format_is_given(accept: str, expected: str) -> None:
    assert negotiate_format(None, accept, _ALL) == expected


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/plain", "x", "*/*;q=nan"])
def test_where_none_is_accepted_that_is_a_problem(accept: str) -> None:
    with pytest.raises(ProblemError) as caught:
        negotiate_format(None, accept, _ALL)
    assert caught.value.type.status == 406


def test_a_format_asked_for_by_name_wins_and_must_exist() -> None:
    assert negotiate_format("csv", "application/json", _ALL) == "csv"
    with pytest.raises(UsageError, match="format: expected one of json csv arrow parquet msgpack, was 'xml'"):
        negotiate_format("xml", "", _ALL)
    with pytest.raises(UsageError):
        negotiate_format("csv", "", ("json",))


@pytest.mark.parametrize(
    ("accept", "format_name", "expected"),
    [
        ("", "json", ""),
        ("identity", "json", ""),
        ("gzip", "json", "gzip"),
        ("gzip, deflate, br, zstd", "json", "zstd"),
        ("gzip;q=1, zstd;q=0.5", "csv", "gzip"),
        ("gzip;q=0", "json", ""),
        ("*", "msgpack", "zstd"),
        ("br", "json", ""),
        ("gzip, deflate", "arrow", ""),
        ("gzip, zstd", "arrow", "zstd"),
        ("gzip, zstd", "parquet", ""),
    ],
)
def test_encodings_are_used_where_they_gain(accept: str, format_name: str, expected: str) -> None:
    assert negotiate_encoding(accept, format_name) == expected


@given(st.text(max_size=80))
def test_no_header_breaks_it(header: str) -> None:
    assert negotiate_encoding(header, "json") in ("", "gzip", "zstd")
    with contextlib.suppress(ProblemError):
        assert negotiate_format(None, header, _ALL) in _ALL
