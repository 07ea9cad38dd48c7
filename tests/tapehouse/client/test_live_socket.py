"""Live iterators: connected again, ended cleanly, and what they raise."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from itertools import islice

import pytest
from websockets.sync.server import ServerConnection

import tapehouse.client.live_socket as live_socket
from tapehouse.client.live import Live
from tapehouse.client.live_records import Reconnected, Skipped, Slow, Trade
from tapehouse.client.transport import Transport
from tapehouse.errors import ConnectError, TapehouseError, UnknownSeriesError, UsageError
from tapehouse.stream.live_messages import ERROR, HEARTBEAT, MOST_TRADES, SKIPPED, SLOW
from tests.tapehouse.client.live_gateway import cutting, rows, saying, serving, subscribed, trades, waiting


def _seqs(found: list[Trade]) -> list[int]:
    return [trade.seq for trade in found]


def _run(stream: Iterable[Trade], each: Callable[[], object]) -> None:
    for _ in stream:
        each()


def _no_threads_but(before: set[threading.Thread]) -> bool:
    # The fake gateway has threads of its own, which end with it.
    return {thread for thread in threading.enumerate() if thread not in before} == set()


def test_break_closes_the_socket_and_its_thread() -> None:
    before = set(threading.enumerate())
    with serving(saying(subscribed(rows(1, 2, 3)))) as gateway:
        stream = gateway.live().trades("A")
        for trade in stream:
            if trade.seq == 2:
                break
        gateway.until_closed(1)
        assert gateway.closed == [1000]
    assert _no_threads_but(before)


def test_close_from_another_thread_ends_a_loop_that_waits() -> None:
    with serving(saying(subscribed(rows(1)))) as gateway:
        stream = gateway.live().trades("A")
        for trade in stream:
            assert trade.seq == 1
            threading.Timer(0.1, stream.close).start()
        gateway.until_closed(1)
        assert list(stream) == []


def test_a_context_and_an_error_in_the_loop_close_the_socket() -> None:
    with serving(saying(subscribed(rows(1)))) as gateway:
        with gateway.live().trades("A") as stream:
            loop = iter(stream)
            assert next(loop).seq == 1
        gateway.until_closed(1)
        with pytest.raises(ZeroDivisionError):
            _run(gateway.live().trades("A"), lambda: 1 / 0)
        gateway.until_closed(2)
        assert gateway.closed == [1000, 1000]


def test_ctrl_c_in_a_loop_that_waits_closes_the_socket() -> None:
    with serving(saying(subscribed(rows(1)))) as gateway:
        interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            _run(gateway.live().trades("A"), interrupt.start)
        gateway.until_closed(1)
        assert gateway.closed == [1000]


def test_a_loop_that_takes_nothing_of_much_that_comes_can_still_be_closed() -> None:
    def flooding(connection: ServerConnection) -> None:
        for _ in range(5_000):
            connection.send(b"\xdc\x00\x03\x0a\x00\xc0")
        waiting(connection)

    before = set(threading.enumerate())
    with serving(saying(subscribed(rows(1)), then=flooding)) as gateway:
        for _ in gateway.live().trades("A"):
            break
        gateway.until_closed(1)
    assert _no_threads_but(before)


async def test_async_break_and_context_close_the_socket() -> None:
    with serving(saying(subscribed(rows(1, 2, 3)))) as gateway:
        async for trade in gateway.live().trades("A"):
            if trade.seq == 2:
                break
        gc.collect()
        await asyncio.to_thread(gateway.until_closed, 1)
        async with gateway.live().trades("A") as stream:
            loop = aiter(stream)
            assert (await anext(loop)).seq == 1
        await asyncio.to_thread(gateway.until_closed, 2)
        assert gateway.closed == [1000, 1000]
        await loop.aclose()  # type: ignore[attr-defined]


async def test_an_async_loop_goes_on_after_a_lost_connection_and_raises_errors() -> None:
    error = [ERROR, 0, "", "no A of V; near: B", "Look.", "unknown-series"]
    lost = saying(subscribed(rows(1), 4), trades(6, 2), then=cutting)
    with serving(lost, saying(subscribed(rows(3), 8, number=1, resumed=True)), saying(error)) as gateway:
        stream = gateway.live().trades("A")
        found = []
        async for trade in stream:
            found.append(trade)
            if trade.seq == 3:
                break
        assert _seqs(found) == [1, 2, 3]
        assert list(stream.notices) == [Reconnected(resumed=True)]
        assert gateway.requests[1]["after"] == [9, 6]
        with pytest.raises(UnknownSeriesError, match="near: B"):
            await anext(aiter(gateway.live().trades("A")))


def test_a_lost_connection_goes_on_from_the_last_version() -> None:
    lost = saying(subscribed(rows(1, 2), 4), trades(6, 3), then=cutting)
    with serving(lost, saying(subscribed(rows(4), 8, number=1, resumed=True), trades(9, 5))) as gateway:
        stream = gateway.live().trades("A", last=2)
        assert _seqs(list(islice(stream, 5))) == [1, 2, 3, 4, 5]
        assert list(stream.notices) == [Reconnected(resumed=True)]
        assert gateway.requests[0] == {
            "op": "subscribe", "id": 0, "channel": "trades", "venue": "V", "symbol": "A", "last": 2
        }  # fmt: skip
        assert gateway.requests[1]["after"] == [9, 6]


def test_a_snapshot_after_a_lost_connection_gives_what_is_new_without_a_warning() -> None:
    lost = saying(subscribed(rows(5, 6), 4), then=cutting)
    anew = saying(subscribed(rows(3, 4, 5, 6, 7, 8), 2, number=1, epoch=10))
    with serving(lost, anew) as gateway, warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = gateway.live().trades("A")
        assert _seqs(list(islice(stream, 4))) == [5, 6, 7, 8]
        assert list(stream.notices) == [Reconnected(resumed=False)]
        assert gateway.requests[1]["last"] == MOST_TRADES


def test_trades_that_may_be_missing_are_told() -> None:
    lost = saying(subscribed(rows(1), 4), then=cutting)
    anew = saying(subscribed(rows(*range(11, 11 + MOST_TRADES)), 2, number=1, epoch=10))
    with serving(lost, anew) as gateway:
        stream = gateway.live().trades("A")
        with pytest.warns(UserWarning, match=r"some trades of A did not come, of seq 2 to 10: .*db\.trades"):
            assert _seqs(list(islice(stream, 3))) == [1, 11, 12]
        reconnected, skipped = stream.notices
        assert isinstance(reconnected, Reconnected)
        assert isinstance(skipped, Skipped)
        assert (skipped.seq_from, skipped.seq_to, skipped.trades) == (2, 10, None)


def test_what_the_gateway_left_out_is_told_to_the_callback_and_is_no_warning_then() -> None:
    said = [SLOW, 70], [SKIPPED, 5, 2, 6, 5], trades(9, 7)
    told: list[object] = []
    with serving(saying(subscribed(rows(1), 4), *said)) as gateway, warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = gateway.live().trades("A", on_notice=told.append)
        assert _seqs(list(islice(stream, 2))) == [1, 7]
    slow, skipped = told
    assert slow == Slow(70)
    assert isinstance(skipped, Skipped)
    assert (skipped.seq_from, skipped.seq_to, skipped.trades) == (2, 6, 5)


def test_a_correction_comes_and_a_repetition_does_not() -> None:
    corrected = trades(6, 2)
    corrected[-1][0][2] += 1
    with serving(saying(subscribed(rows(1, 2), 4), trades(5, 2), corrected, trades(7, 3))) as gateway:
        found = list(islice(gateway.live().trades("A"), 4))
    assert _seqs(found) == [1, 2, 2, 3]
    assert [trade.price for trade in found] == [1.01, 1.02, 1.03, 1.03]


@pytest.mark.parametrize(
    ("problem", "kind"), [("usage", UsageError), ("unknown-series", UnknownSeriesError), ("refused", TapehouseError)]
)  # fmt: skip
def test_an_error_of_a_subscription_is_raised_with_its_remedy(problem: str, kind: type[Exception]) -> None:
    with serving(saying([ERROR, 0, "Title", "last: expected 1", "Do so.", problem])) as gateway:
        with pytest.raises(kind, match="last: expected 1\nDo so") as raised:
            next(iter(gateway.live().bars("A", "1m")))
        assert type(raised.value) is kind
        gateway.until_closed(1)


def test_a_store_that_is_away_is_asked_again() -> None:
    away = saying([ERROR, 0, "", "questdb: no answer", "", "away"])
    with serving(away, away, saying(subscribed(rows(1), number=2))) as gateway:
        assert _seqs(list(islice(gateway.live().trades("A"), 1))) == [1]
    with serving(away) as gateway, pytest.raises(ConnectError, match="questdb: no answer"):
        next(iter(gateway.live(away_s=0.3).trades("A")))


def test_a_refused_upgrade_is_raised_and_a_busy_gateway_is_asked_again() -> None:
    foreign = {"type": "/problems/foreign-page", "detail": "a page of another site", "remedy": "Use its own."}
    with serving(saying(subscribed(rows(1)))) as gateway:
        gateway.refusals = [(503, {"type": "/problems/busy", "detail": "too many"}), (403, foreign)]
        with pytest.raises(UsageError, match="a page of another site\nUse its own"):
            next(iter(gateway.live().trades("A")))
        gateway.refusals = [(503, {"type": "/problems/busy", "detail": "too many"})]
        assert next(iter(gateway.live().trades("A"))).seq == 1


def test_a_gateway_that_stays_away_is_an_error_after_the_time_it_may() -> None:
    with serving(waiting) as gateway:
        url = gateway.url
    live = Live(Transport(url, "tapehouse up --home X"))
    live.away_s = 0.5
    began = time.monotonic()
    with pytest.raises(ConnectError, match=f"gateway: {url} does not answer: ") as raised:
        next(iter(live.trades("A")))
    assert time.monotonic() - began >= 0.5
    assert "tapehouse up --home X" in raised.value.remedy


def test_a_gateway_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "_SILENCE_S", 0.3)
    beating = saying(subscribed(rows(1), 4), [HEARTBEAT, 1, None])
    with serving(beating, saying(subscribed(rows(2), 5, number=1, resumed=True))) as gateway:
        assert _seqs(list(islice(gateway.live().trades("A"), 2))) == [1, 2]


def test_what_is_no_live_message_is_an_error() -> None:
    def talking(connection: ServerConnection) -> None:
        connection.send(b"\xc1")

    with serving(talking) as gateway, pytest.raises(TapehouseError, match="expected live messages"):
        next(iter(gateway.live().trades("A")))


def test_a_chart_is_the_gateways_page_and_an_interval_that_is_none_is_refused() -> None:
    live = Live(Transport("http://127.0.0.1:1"), "V")
    chart = live.chart("Ä/<B", "5m", height=300)
    assert chart.url == "http://127.0.0.1:1/chart/V/%C3%84%2F%3CB?interval=5m"
    assert f'src="{chart.url}"' in chart._repr_html_()
    assert 'height="300"' in chart._repr_html_()
    with pytest.raises(UsageError, match="interval: expected one of 15s"):
        live.chart("A", "7m")
    with pytest.raises(UsageError, match="interval: expected one of 15s"):
        next(iter(live.bars("A", "7m")))
