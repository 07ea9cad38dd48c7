"""An answer taken piece by piece."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler

import polars as pl
import pytest

from tapehouse.client.download import RowDownload
from tapehouse.client.transport import Transport
from tapehouse.errors import ConnectError
from tests.tapehouse.client.played import SEGMENTS, playing, stream, streaming, trades

_TABLE = trades(10_000)
_WHOLE = stream(_TABLE)


def test_frames_are_as_large_as_asked_for_and_make_the_whole() -> None:
    with playing(streaming(_WHOLE)) as gateway:
        transport = Transport(gateway.url)
        for piece, frames in ((1, 10), (100_000, 4), (2**30, 1)):
            with RowDownload(transport, "/v1/trades", {}) as pull:
                assert pull.segments == []
                found = list(pull.frames(piece))
                assert pull.segments == SEGMENTS
                assert pull.empty.equals(pl.DataFrame(_TABLE).clear())
            assert len(found) == frames
            assert pl.concat(found).equals(pl.DataFrame(_TABLE))
        transport.close()


def test_rows_are_there_before_the_answer_is_complete_and_stay_when_it_breaks_off() -> None:
    go_on = threading.Event()

    def halting(to: BaseHTTPRequestHandler) -> None:
        streaming(_WHOLE[: len(_WHOLE) // 2], ended=False)(to)
        to.wfile.flush()
        assert go_on.wait(60)

    with playing(halting) as gateway:
        transport = Transport(gateway.url)
        with RowDownload(transport, "/v1/trades", {}) as pull:
            frames = pull.frames(1)
            assert next(frames).height == 1000
            go_on.set()
            with pytest.raises(ConnectError, match="the answer was truncated"):
                list(frames)
        transport.close()


def test_an_answer_left_early_is_ended_at_the_gateway() -> None:
    gone = threading.Event()

    def endless(to: BaseHTTPRequestHandler) -> None:
        try:
            streaming(_WHOLE[:-8], ended=False)(to)
            while True:
                to.wfile.write(b"1\r\n\xff\r\n" * 1000)
        except ConnectionError:
            gone.set()

    with playing(endless) as gateway:
        transport = Transport(gateway.url)
        with RowDownload(transport, "/v1/trades", {}) as pull:
            next(pull.frames(1))
        assert gone.wait(60), "waited 60 s for the gateway to see that the client has gone"
        transport.close()
