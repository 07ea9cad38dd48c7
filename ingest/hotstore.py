"""Batches into QuestDB over ILP: one transaction a table, rows it names as bad set aside.

QuestDB takes a transaction whole or not at all, and the client empties its buffer when it fails, so the
frame stays here until it is committed. An acknowledgement means durable in the table's WAL, not yet visible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from questdb import QuestDBError, QuestDBErrorCode, Sender

from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import Column, Kind
from tapehouse.settings import QuestDB

_REQUEST_TIMEOUT_MS = 10_000
_UNREACHED = (
    QuestDBErrorCode.SocketError,
    QuestDBErrorCode.ServerFlushError,
    QuestDBErrorCode.CouldNotResolveAddr,
    QuestDBErrorCode.AuthError,
    QuestDBErrorCode.HttpNotSupported,
)
"""What a server that is away or starting answers; any other error is a defect of ours, and raised."""
_DECIMAL = pa.decimal128(38, 18)


@dataclass(frozen=True)
class BadRow:
    """A row that QuestDB would not take: its position among the rows given, and QuestDB's reason."""

    row: int
    reason: str


class HotStore:
    """A writing connection to QuestDB. Blocking, and for one thread at a time."""

    def __init__(self, settings: QuestDB) -> None:
        self._conf = (
            f"http::addr={settings.host}:{settings.http_port};username={settings.user};"
            f"password={settings.password.get_secret_value()};auto_flush=off;protocol_version=3;"
            f"retry_timeout=0;request_timeout={_REQUEST_TIMEOUT_MS};"
        )
        self._address = f"{settings.host}:{settings.http_port}"
        self._sender: Sender | None = None

    def close(self) -> None:
        """Close the connection; the next commit opens another."""
        if self._sender is not None:
            self._sender.close(False)
            self._sender = None

    def commit(self, batches: Sequence[Batch]) -> list[BadRow]:
        """Commit the rows of batches of one kind in one transaction and return those refused.

        Raises ConnectError when QuestDB cannot be reached: nothing is known then, and the same call may be
        made again, for the table's keys take the doubles.
        """
        frame = to_frame(batches)
        refused: list[BadRow] = []
        self._commit(batches[0].kind, frame, np.arange(len(frame)), refused)
        return refused

    def _commit(
        self, kind: Kind, frame: pd.DataFrame, positions: NDArray[np.int64], refused: list[BadRow]
    ) -> None:
        """Commit `frame`, whose rows are at `positions` among those given, less the rows refused."""
        while len(positions):
            try:
                self._flush(kind, frame)
            except QuestDBError as error:
                if error.code not in _UNREACHED:
                    raise
                fault = _fault(error)
                if fault is None:
                    self.close()
                    raise ConnectError(
                        f"questdb: no answer from {self._address}: {error}",
                        remedy="Look at its log; `tapehouse status` shows whether it runs.",
                    ) from error
                line, reason = fault
                if line is not None and line <= len(positions):
                    refused.append(BadRow(int(positions[line - 1]), reason))
                    keep = np.arange(len(positions)) != line - 1
                    frame, positions = frame[keep], positions[keep]
                elif len(positions) == 1:
                    refused.append(BadRow(int(positions[0]), reason))
                    return
                else:
                    middle = len(positions) // 2
                    self._commit(kind, frame[:middle], positions[:middle], refused)
                    frame, positions = frame[middle:], positions[middle:]
            else:
                return

    def _flush(self, kind: Kind, frame: pd.DataFrame) -> None:
        if self._sender is None:
            self._sender = Sender.from_conf(self._conf)
            self._sender.establish()  # type: ignore[no-untyped-call]
        with self._sender.transaction(kind.name) as transaction:
            transaction.dataframe(frame, at=kind.time)


def _fault(error: QuestDBError) -> tuple[int | None, str] | None:
    """QuestDB's word on the rows: (line counted from 1 or None, reason); None: it is about something else."""
    if error.code != QuestDBErrorCode.ServerFlushError:
        return None
    match = re.search(r"\{.*\}", str(error), re.DOTALL)
    if match is None:
        return None
    try:
        answer: dict[str, Any] = json.loads(match[0], strict=False)
    except json.JSONDecodeError:
        return None
    if answer.get("code") != "invalid":
        return None
    reason = str(answer.get("message", "")).rsplit("\n", 1)[-1]
    if "table does not exist" in reason or "does not exist, creating new columns is disabled" in reason:
        raise TapehouseError(
            f"questdb: the schema is behind: {reason}",
            remedy="Start the platform again: `tapehouse up` applies the migrations.",
        ) from error
    return answer.get("line"), f"questdb: {reason}"


def to_frame(batches: Sequence[Batch]) -> pd.DataFrame:
    """The rows of batches of one kind as the frame that the client sends: symbols as categories."""
    kind = batches[0].kind
    venues = Strings.constant(batches[0].venue, batches[0].rows)
    whole = batches[0]
    if len(batches) > 1:
        whole = Batch.concat(batches)
        names = tuple(dict.fromkeys(batch.venue for batch in batches))
        codes = np.repeat([names.index(batch.venue) for batch in batches], [batch.rows for batch in batches])
        venues = Strings(names, codes)
    columns = {}
    for column in kind.columns:
        data = venues if column.name == "venue" else whole.columns[column.name]
        # The client refuses categories without values; a column that is not sent is null.
        if not isinstance(data, Strings) or data.values:
            columns[column.name] = _series(column, data)
    return pd.DataFrame(columns, copy=False)


def _series(column: Column, data: ColumnData) -> Any:
    if isinstance(data, Strings):
        return pd.Categorical.from_codes(data.codes, pd.Index(data.values, dtype=object), validate=False)
    if isinstance(data, Lists):
        rows = np.empty(len(data.ends), object)
        for index in range(len(rows)):
            rows[index] = data.row(index)
        return rows
    data = np.ascontiguousarray(data)  # a column sent once is a broadcast view
    if column.type == "time":
        return data.view("datetime64[ns]")
    if column.type == "decimal":
        buffers = [None, pa.py_buffer(data.view(np.uint8))]
        return pd.array(pa.Array.from_buffers(_DECIMAL, len(data), buffers), dtype=pd.ArrowDtype(_DECIMAL))
    return data
