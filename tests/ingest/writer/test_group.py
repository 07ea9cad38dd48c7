"""Groups of messages that are committed together."""

from __future__ import annotations

from ingest.writer.group import MessageGroup
from tapehouse.model import QUOTES, TRADES
from tapehouse.stream.consumer import StreamMessage
from tapehouse.stream.wire import pack
from tests.batches import batch


def _message(seq: int, data: bytes) -> StreamMessage:
    return StreamMessage(seq, 0, "", data, "")


def test_a_group_knows_the_messages_of_each_kind() -> None:
    trades, quotes = (pack(batch(kind, 4)) for kind in (TRADES, QUOTES))
    group = MessageGroup.of(
        [_message(3, trades), _message(5, trades), _message(6, quotes), _message(9, b"?")]
    )
    assert group.seqs == {TRADES: [3, 5], QUOTES: [6]}
    assert group.last.seq == 9
    assert [message.seq for message, _ in group.unreadable] == [9]
