"""Downloads the rows of one answer as an Arrow stream, decoded by polars in pieces."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from tapehouse.client.arrowstream import END, ArrowStream
from tapehouse.client.progress import DownloadProgress
from tapehouse.client.transport import ARROW, Parameters, Transport
from tapehouse.errors import TapehouseError

PIECE: Final = 32 * 2**20
"""Bytes that polars decodes at a time: the memory that a download needs besides the frame."""


class RowDownload:
    """A download in progress, for use as a context manager; leaving the context early also stops the gateway."""

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
        """Which store served which span, as JSON with rows and ms; empty until the last frame was read."""
        return self._stream.segments

    @property
    def empty(self) -> pl.DataFrame:
        """A frame with the answer's columns and no rows."""
        return _read(self._new_stream())

    def frames(self, piece: int = PIECE) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of about `piece` bytes; no frame if there are no rows.

        Raises ConnectError if the connection is lost, or the error with which the gateway aborted the answer.
        """
        batches = self._new_stream()
        begin = batches.tell()
        with DownloadProgress(self._what, self._total if isinstance(self._total, int) else None) as progress:
            for rows, message in self._stream.batches():
                before = batches.tell()
                batches.writelines(message)
                progress.add(rows, batches.tell() - before)
                if batches.tell() >= piece:
                    yield _read(batches)
                    batches = self._new_stream()
        if batches.tell() > begin:
            yield _read(batches)

    def frame(self) -> pl.DataFrame:
        """All rows as one frame."""
        frames = list(self.frames())
        return pl.concat(frames, rechunk=False) if frames else self.empty

    def _new_stream(self) -> io.BytesIO:
        """A new stream with the schema, to which batches can be appended."""
        batches = io.BytesIO()
        batches.write(self._stream.schema)
        return batches


def _read(batches: io.BytesIO) -> pl.DataFrame:
    batches.write(END)
    batches.seek(0)
    return pl.read_ipc_stream(batches)
