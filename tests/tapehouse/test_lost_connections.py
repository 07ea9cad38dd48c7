"""Errors of libraries as words."""

from __future__ import annotations

from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

import pytest
from urllib3.exceptions import DecodeError, HTTPError, InvalidChunkLength, ProtocolError, ReadTimeoutError

from tapehouse.lost_connections import reason_in_words

_CLOSED = "the connection was closed"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (ProtocolError("Connection broken", IncompleteRead(b"abc", 7)), _CLOSED),
        (ProtocolError("Connection broken"), _CLOSED),
        (ProtocolError("Connection aborted.", RemoteDisconnected("Remote end closed")), _CLOSED),
        (ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset by peer")),
         "Connection reset by peer"),
        (BadStatusLine("x"), _CLOSED),
        (HTTPError(), _CLOSED),
        (ReadTimeoutError(None, "/", "Read timed out."), "nothing came in time"),  # type: ignore[arg-type]
        (TimeoutError(), "nothing came in time"),
        (DecodeError("Received response with content-encoding: gzip"), "its compression is damaged"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ValueError("a: b"), "b"),
        (ValueError(), "ValueError"),
    ],
)  # fmt: skip
def test_no_class_or_bytes_are_told(reason: Exception, words: str) -> None:
    assert reason_in_words(reason) == words


def test_the_innermost_cause_is_told() -> None:
    outer = HTTPError("Max retries exceeded")
    outer.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert reason_in_words(outer) == "Connection refused"
    assert InvalidChunkLength.__name__ not in reason_in_words(ProtocolError("x", IncompleteRead(b"")))
