"""What is stored, as a recording: the same rows in a venue's own messages."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.replay.stored import StoredRecording
from ingest.venues.registry import VENUES
from ingest.venues.venue import VenueStream
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MILLISECOND, parse_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import DEPTH, TRADES
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader
from tests.conftest import Platform

START = parse_ns("2024-01-02T10:00:00Z")
ROWS = 500


@pytest.fixture
def settings(provisioned: Platform) -> QuestDB:
    return provisioned.settings.questdb


def trades(venue: str, seq: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Batch:
    times = START + np.arange(ROWS) * MILLISECOND
    return Batch(
        TRADES,
        venue,
        ROWS,
        {
            "ts_event": times,
            "ts_recv": times + 5,
            "symbol": Strings.constant("AAA/B", ROWS),
            "seq": seq,
            "price": 100 + np.arange(ROWS) / 8,
            "size": 1 + np.arange(ROWS) / 16,
            "side": np.where(np.arange(ROWS) % 3, np.int8(1), np.int8(-1)),
            "flags": np.zeros(ROWS, np.int16),
            "exchange": Strings.constant("X", ROWS),
            "conditions": Strings.constant(None, ROWS),
        },
    )


def store(settings: QuestDB, batch: Batch) -> None:
    hot = QuestDBWriter(settings)
    hot.commit([batch])
    hot.close()
    with QuestReader(settings) as reader:
        reader.wait_applied(batch.kind.name)


def parsed(span: StoredRecording, kind: str) -> Batch:
    """What a parser of the span's protocol makes of its messages."""
    parser = VENUES[span.emulator.name].parser("again", {kind})
    found = parser.feed([(item.at_ns, item.message) for item in span.read()], str)
    assert not found.rejected
    (batch,) = found.batches
    return batch


def test_rows_of_a_venue_without_a_protocol_are_replayed_with_ids_that_follow_on(
    settings: QuestDB, venue: str
) -> None:
    store(settings, trades(venue, START + np.arange(ROWS) * 7))
    span = StoredRecording.from_text(f"{venue}/AAA/B@2024-01-02..2024-01-03", settings)
    assert span is not None
    assert (span.symbols, span.lines) == (["AAA/B"], ROWS)
    assert span.streams == {VenueStream("trades", "AAA/B")}
    again, source = parsed(span, "trades"), trades(venue, np.arange(ROWS))
    for name in ("ts_event", "seq", "price", "size", "side"):
        assert np.array_equal(again.array(name), source.array(name)), name


def test_the_bounds_of_a_span_are_those_of_queries(settings: QuestDB, venue: str) -> None:
    store(settings, trades(venue, np.arange(ROWS)))
    span = StoredRecording.from_text(
        f"{venue}/AAA/B@2024-01-02T10:00:00.100Z..2024-01-02T10:00:00.200Z", settings
    )
    assert span is not None
    assert span.lines == 100
    assert next(item.at_ns for item in span.read()) == START + 100 * MILLISECOND + 5


def test_books_are_replayed_with_their_chain(settings: QuestDB, venue: str) -> None:
    rows = 3
    batch = Batch(
        DEPTH,
        venue,
        rows,
        {
            "ts_event": START + np.arange(rows) * MILLISECOND,
            "ts_recv": START + np.arange(rows) * MILLISECOND,
            "symbol": Strings.constant("AAA/B", rows),
            "seq": np.array([10, 15, 20]),
            "snapshot": np.array([True, False, False]),
            "seq_first": np.array([-(2**63), 11, 16]),
            "seq_previous": np.array([-(2**63), 10, 15]),
            "bid_prices": Lists.of([[1.5, 1.25], [1.5], []]),
            "bid_sizes": Lists.of([[2.0, 3.0], [0.0], []]),
            "ask_prices": Lists.of([[2.5], [], [2.25]]),
            "ask_sizes": Lists.of([[1.0], [], [0.00001]]),
            "flags": np.zeros(rows, np.int16),
        },
    )
    store(settings, batch)
    span = StoredRecording.from_text(f"{venue}/AAA/B@2024-01-02..2024-01-03", settings)
    assert span is not None
    items = list(span.read())
    assert [item.snapshot for item in items] == [True, False, False]
    parser = VENUES[span.emulator.name].parser("again", {"depth"})
    (again,) = parser.feed([(item.at_ns, item.message) for item in items[1:]], str).batches
    assert again.array("seq_previous").tolist() == [10, 15]
    assert again.lists("ask_sizes").row(1).tolist() == [0.00001]


def test_a_span_without_rows_says_so(settings: QuestDB, venue: str) -> None:
    span = StoredRecording.from_text(f"{venue}/AAA@2024-01-02..2024-01-03", settings)
    assert span is not None
    with pytest.raises(SourceError, match="expected rows of AAA"):
        _ = span.streams


def test_a_path_is_no_span_and_a_span_must_end_after_it_starts(settings: QuestDB) -> None:
    assert StoredRecording.from_text("captures/spot.gz,more", settings) is None
    with pytest.raises(UsageError, match="after the start"):
        StoredRecording.from_text("sim/AAA@2024-01-03..2024-01-02", settings)
