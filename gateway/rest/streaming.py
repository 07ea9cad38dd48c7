"""Streams an answer: one piece is sent while the next is read, until the end or until the client disconnects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.rest.encoding import Bytes
from gateway.rest.pieces import Pieces
from gateway.rest.problems import Problem, internal_problem, to_problem
from gateway.rest.readers import Readers
from tapehouse.errors import TapehouseError

_log = structlog.get_logger()
_CHUNK = 2**18
_MAX_HEADER = 2**13
"""Bytes; many clients reject longer headers, so the segments are then only in the body."""


class AnswerResponse(Response):
    """A streamed answer.

    An error before the first rows is a problem document with its own status. After them the connection is closed
    before the end of the body, so that no client takes an incomplete answer for a complete one.
    """

    def __init__(self, readers: Readers, pieces: Pieces, headers: Mapping[str, str], plan_s: float) -> None:
        # Response.__init__ is not called: it requires the body.
        self._readers = readers
        self._pieces = pieces
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._plan_s = plan_s
        self._buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer until its end, or until the client disconnects."""
        sending = asyncio.ensure_future(self._send(scope, receive, send))
        disconnected = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, disconnected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            disconnected.cancel()
            await asyncio.gather(sending, disconnected, return_exceptions=True)
            self._count_buffered(-self._buffered_bytes)
            self._pieces.close()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._readers.answer_slot():
                began = time.perf_counter()
                piece, last = await self._pieces.first()
                self.headers["server-timing"] = (
                    f"plan;dur={self._plan_s * 1e3:.3f}, first;dur={(time.perf_counter() - began) * 1e3:.3f}"
                )
                await self._start(send, piece, last)
                if not last:
                    await self._stream(send, piece)
        except TapehouseError as error:
            await to_problem(error).response()(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - any other error is the gateway's own
            await internal_problem(error).response()(scope, receive, send)

    async def _start(self, send: Send, piece: Bytes, last: bool) -> None:
        self.headers.update(segments_headers(self._pieces.rows.segments, complete=last))
        if last:
            self.headers["content-length"] = str(len(piece))
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if last:
            await send({"type": "http.response.body", "body": piece})

    async def _stream(self, send: Send, piece: Bytes) -> None:
        """Send the pieces. If this returns before the end of the body, the server closes the connection."""
        last = False
        read_ahead: asyncio.Future[tuple[Bytes, bool]] | None = None
        self._count_buffered(len(piece))
        try:
            while not last:
                if self._readers.buffered_bytes < self._readers.limits.max_buffered_bytes:
                    read_ahead = asyncio.ensure_future(self._pieces.next())
                await _send_chunks(send, piece)
                self._count_buffered(-len(piece))
                piece, last = await (read_ahead or self._pieces.next())
                read_ahead = None
                self._count_buffered(len(piece))
            await _send_chunks(send, piece)
            await send({"type": "http.response.body", "body": b""})
        except TapehouseError as error:
            await self._abort(send, to_problem(error))
        except Exception as error:  # noqa: BLE001 - as above
            await self._abort(send, internal_problem(error))
        finally:
            if read_ahead is not None:
                read_ahead.cancel()
                await asyncio.gather(read_ahead, return_exceptions=True)

    async def _abort(self, send: Send, problem: Problem) -> None:
        _log.warning("answer aborted", reason=problem.detail)
        await _send_chunks(send, self._pieces.abort(problem))

    def _count_buffered(self, size: int) -> None:
        self._buffered_bytes += size
        self._readers.buffered_bytes += size


def segments_headers(segments: Sequence[Mapping[str, Any]], *, complete: bool) -> dict[str, str]:
    """The header with the segments; none where it would be too long."""
    # json.dumps returns ASCII, as a header requires.
    text = json.dumps([_header_segment(segment, complete=complete) for segment in segments])
    return {"tapehouse-segments": text} if len(text) <= _MAX_HEADER else {}


def _header_segment(segment: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """A segment for the header; its rows and time are known only when the answer is complete."""
    return {name: value for name, value in segment.items() if complete or name not in ("rows", "ms")}


async def _send_chunks(send: Send, piece: Bytes) -> None:
    """Send a piece in chunks, each when the client has received most of those before it."""
    view = memoryview(piece)
    for start in range(0, len(view), _CHUNK):
        await send({"type": "http.response.body", "body": view[start : start + _CHUNK], "more_body": True})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
