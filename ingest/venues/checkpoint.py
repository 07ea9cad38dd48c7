"""The checkpoint of a live feed: the continuity state, and how far it covers the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from ingest.publisher import Publisher
from ingest.venues.continuity import Continuity
from tapehouse.clock import now_ns
from tapehouse.errors import WireError
from tapehouse.model import GAPS
from tapehouse.stream.bus import TICKS, Bus, State, word
from tapehouse.stream.wire import unpack

_log = structlog.get_logger()


@dataclass(frozen=True)
class PendingCheckpoint:
    """A checkpoint that may be saved once the publisher's messages up to `ticket` are acknowledged."""

    seq: int
    """The last stream sequence that was acknowledged when it was captured."""
    ticket: int
    """The last message handed to the publisher; negative for none."""
    continuity: list[dict[str, Any]]


class LiveCheckpoint:
    """The checkpoint of one venue's feed in the key-value state.

    It holds the continuity state and a stream sequence: all messages of the venue up to there are part of that
    state. A run that was killed may have published more; `resume` reads those messages back.
    """

    def __init__(self, bus: Bus, state: State, venue: str, publisher: Publisher) -> None:
        self._bus = bus
        self._state = state
        self._venue = venue
        self._publisher = publisher
        self._key = f"checkpoint.live.{word(venue)}"
        self._seq = 0
        self._stream_created = ""

    async def resume(self, continuity: Continuity) -> None:
        """Restore the continuity state as of the end of the last run."""
        info = await self._bus.js.stream_info(TICKS)
        self._stream_created = str(info.created)
        saved: dict[str, Any] | None = await self._state.get(self._key)
        if saved is not None:
            continuity.restore(saved["tracks"])
        same_stream = saved is not None and saved["created"] == self._stream_created
        self._seq = saved["seq"] if saved is not None and same_stream else info.state.last_seq
        count = 0
        while message := await self._next_message():
            count += 1
            self._replay(continuity, message)
        if count:
            _log.info("messages of the previous run read back", venue=self._venue, messages=count)

    async def save_resumed(self, continuity: Continuity) -> None:
        """Save what was restored: what this run publishes comes after it, also when the run is killed at once."""
        await self._put(continuity.state())

    def capture(self, continuity: Continuity) -> PendingCheckpoint:
        """The continuity state as it is; no rows may be between it and the publisher."""
        return PendingCheckpoint(
            self._publisher.last_seq, self._publisher.next_ticket - 1, continuity.state()
        )

    async def save(self, pending: PendingCheckpoint) -> None:
        """Wait until what was published before it is acknowledged, then save it."""
        if pending.ticket < 0:
            return
        await self._publisher.wait_acknowledged(pending.ticket)
        self._seq = max(self._seq, pending.seq)
        await self._put(pending.continuity)

    async def _put(self, continuity: list[dict[str, Any]]) -> None:
        await self._state.put(
            self._key, {"created": self._stream_created, "seq": self._seq, "tracks": continuity}
        )

    async def _next_message(self) -> RawStreamMsg | None:
        """The venue's next message in the stream; None at its end."""
        while True:
            try:
                message = await self._bus.js.get_msg(
                    TICKS, seq=self._seq + 1, subject=f"ticks.*.{word(self._venue)}.*", direct=True, next=True
                )
            except NotFoundError:
                return None
            except NatsTimeoutError:
                await self._bus.until_connected()
            else:
                self._seq = message.seq or self._seq + 1
                return message

    def _replay(self, continuity: Continuity, message: RawStreamMsg) -> None:
        try:
            batch = unpack(message.data or b"")
        except WireError:
            return  # the writer puts it into quarantine
        if batch.kind is not GAPS:
            continuity.filter_new(batch, now_ns())
