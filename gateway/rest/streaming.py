"""Sending an answer: one piece is read while the one before is sent, and nothing more once the client is gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.rest.encoding import Bytes
from gateway.rest.pieces import Pieces
from gateway.rest.problems import Problem, defect, problem_of
from gateway.rest.readers import Readers
from tapehouse.errors import TapehouseError

_log = structlog.get_logger()
_SLICE = 2**18
_HEADER_MOST = 2**13
"""Longer headers many clients refuse: the segments are in the body then, alone."""


class AnswerResponse(Response):
    """An answer on its way.

    Until its first rows are there an error is a problem of its own status. Later the connection is cut before the
    end of the body, so that nobody takes a short answer for a whole one.
    """

    def __init__(self, readers: Readers, pieces: Pieces, headers: Mapping[str, str], plan_s: float) -> None:
        # Not the base's: there is no body yet.
        self._readers = readers
        self._pieces = pieces
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._plan_s = plan_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client goes away."""
        sending = asyncio.ensure_future(self._send(scope, receive, send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            self._hold(-self._held)
            self._pieces.close()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._readers.place():
                began = time.perf_counter()
                piece, last = await self._pieces.first()
                self.headers["server-timing"] = (
                    f"plan;dur={self._plan_s * 1e3:.3f}, first;dur={(time.perf_counter() - began) * 1e3:.3f}"
                )
                await self._start(send, piece, last)
                if not last:
                    await self._stream(send, piece)
        except TapehouseError as error:
            await problem_of(error).response()(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told that it is a defect
            await defect(error).response()(scope, receive, send)

    async def _start(self, send: Send, piece: Bytes, last: bool) -> None:
        # A header is ASCII.
        segments = json.dumps([_planned(segment, last) for segment in self._pieces.rows.segments])
        if len(segments) <= _HEADER_MOST:
            self.headers["tapehouse-segments"] = segments
        if last:
            self.headers["content-length"] = str(len(piece))
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if last:
            await send({"type": "http.response.body", "body": piece})

    async def _stream(self, send: Send, piece: Bytes) -> None:
        """Send the pieces; on return without the body's end the server cuts the connection."""
        last = False
        ahead: asyncio.Future[tuple[Bytes, bool]] | None = None
        self._hold(len(piece))
        try:
            while not last:
                if self._readers.held < self._readers.limits.held_bytes:
                    ahead = asyncio.ensure_future(self._pieces.next())
                await _push(send, piece)
                self._hold(-len(piece))
                piece, last = await (ahead or self._pieces.next())
                ahead = None
                self._hold(len(piece))
            await _push(send, piece)
            await send({"type": "http.response.body", "body": b""})
        except TapehouseError as error:
            await self._break(send, problem_of(error))
        except Exception as error:  # noqa: BLE001 - as above
            await self._break(send, defect(error))
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _break(self, send: Send, problem: Problem) -> None:
        _log.warning("answer broken off", reason=problem.detail)
        await _push(send, self._pieces.broken(problem))

    def _hold(self, size: int) -> None:
        self._held += size
        self._readers.held += size


def _planned(segment: Mapping[str, Any], known: bool) -> dict[str, Any]:
    """A segment as far as it is known: its rows are not before the answer has ended."""
    return {name: value for name, value in segment.items() if known or name not in ("rows", "ms")}


async def _push(send: Send, piece: Bytes) -> None:
    """Send a piece in slices: each waits until the client has taken most of those before."""
    view = memoryview(piece)
    for begin in range(0, len(view), _SLICE):
        await send({"type": "http.response.body", "body": view[begin : begin + _SLICE], "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
