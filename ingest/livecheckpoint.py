"""Where a live feed goes on from: the tracks as they were, and what the stream holds behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from ingest.publisher import Publisher
from ingest.tracks import Tracks
from tapehouse.bus import TICKS, Bus, State, word
from tapehouse.clock import now_ns
from tapehouse.errors import WireError
from tapehouse.model import GAPS
from tapehouse.wire import unpack

_log = structlog.get_logger()


@dataclass(frozen=True)
class Taken:
    """The tracks at a moment; the last sequence known to be in the stream, and the last ticket, then."""

    seq: int
    ticket: int
    tracks: list[dict[str, Any]]


class LiveCheckpoint:
    """The checkpoint of one venue's feed in the shared state.

    It holds the tracks, and a sequence of the stream: all messages of the venue up to there are in the tracks.
    Those behind it were published by a run that was killed before it could say so; they are read again.
    """

    def __init__(self, bus: Bus, state: State, venue: str, publisher: Publisher) -> None:
        self._bus = bus
        self._state = state
        self._venue = venue
        self._publisher = publisher
        self._key = f"checkpoint.live.{word(venue)}"
        self._seq = 0
        self._created = ""

    async def resume(self, tracks: Tracks) -> None:
        """Bring the tracks to where the last run ended."""
        info = await self._bus.js.stream_info(TICKS)
        self._created = str(info.created)
        saved: dict[str, Any] | None = await self._state.get(self._key)
        if saved is not None:
            tracks.restore(saved["tracks"])
        same_stream = saved is not None and saved["created"] == self._created
        self._seq = saved["seq"] if saved is not None and same_stream else info.state.last_seq
        if not same_stream:
            # What is published from now on is behind it, also when this run is killed at once.
            await self._put(tracks.state())
        count = 0
        while message := await self._next():
            count += 1
            self._see(tracks, message)
        if count:
            _log.info("read again what a killed run published", venue=self._venue, messages=count)

    def taken(self, tracks: Tracks) -> Taken:
        """The tracks as they are now; no rows may be between them and the publisher."""
        return Taken(self._publisher.last_seq, self._publisher.handed_over - 1, tracks.state())

    async def save(self, taken: Taken) -> None:
        """Move the checkpoint there, once all that was handed over by then is acknowledged."""
        if taken.ticket < 0:
            return
        await self._publisher.settle(taken.ticket)
        self._seq = max(self._seq, taken.seq)
        await self._put(taken.tracks)

    async def _put(self, tracks: list[dict[str, Any]]) -> None:
        await self._state.put(self._key, {"created": self._created, "seq": self._seq, "tracks": tracks})

    async def _next(self) -> RawStreamMsg | None:
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

    def _see(self, tracks: Tracks, message: RawStreamMsg) -> None:
        try:
            batch = unpack(message.data or b"")
        except WireError:
            return  # the writer puts it into quarantine
        if batch.kind is not GAPS:
            tracks.sift(batch, now_ns())
