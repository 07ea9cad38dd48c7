"""One answer of rows, pulled as an Arrow stream and read by polars in pieces."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from tapehouse.client.arrowstream import END, ArrowStream
from tapehouse.client.progress import Progress
from tapehouse.client.transport import ARROW, Parameters, Transport
from tapehouse.errors import TapehouseError

PIECE: Final = 32 * 2**20
"""Bytes that polars reads at a time: what a pull needs besides the frame."""


class Pull:
    """An answer under way, to be used in a `with`; leaving it early ends it at the gateway too.

    `segments`, known at the end: for each store and span its rows and time, as the gateway tells them.
    """

    def __init__(self, transport: Transport, path: str, parameters: Parameters) -> None:
        self._what = path.rpartition("/")[2]
        self._total = parameters.get("last") or parameters.get("limit")
        self._answer = transport.get(path, parameters)
        try:
            if self._answer.content_type != ARROW:
                raise TapehouseError(f"gateway: expected {ARROW}, was {self._answer.content_type!r}")
            self._stream = ArrowStream(self._answer.read)
        except BaseException:
            self._answer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.close()

    @property
    def segments(self) -> list[dict[str, Any]]:
        """What the stores served; empty until the last frame was taken."""
        return self._stream.segments

    @property
    def empty(self) -> pl.DataFrame:
        """The columns, without rows."""
        return _read(self._begun())

    def frames(self, piece: int = PIECE) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of about `piece` bytes; none where there are none.

        Raises ConnectError where the answer is cut, and whatever the gateway says that broke it off.
        """
        batches = self._begun()
        begin = batches.tell()
        with Progress(self._what, self._total if isinstance(self._total, int) else None) as progress:
            for rows, message in self._stream.batches():
                before = batches.tell()
                batches.writelines(message)
                progress.add(rows, batches.tell() - before)
                if batches.tell() >= piece:
                    yield _read(batches)
                    batches = self._begun()
        if batches.tell() > begin:
            yield _read(batches)

    def frame(self) -> pl.DataFrame:
        """All of it."""
        frames = list(self.frames())
        return pl.concat(frames, rechunk=False) if frames else self.empty

    def _begun(self) -> io.BytesIO:
        """A stream that batches can be put to."""
        batches = io.BytesIO()
        batches.write(self._stream.schema)
        return batches


def _read(batches: io.BytesIO) -> pl.DataFrame:
    batches.write(END)
    batches.seek(0)
    return pl.read_ipc_stream(batches)
