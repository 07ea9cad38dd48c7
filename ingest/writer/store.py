"""Writes batches to QuestDB over ILP, one transaction a table, without the rows that QuestDB rejects.

Transactions are atomic, and the client empties its buffer when one fails, so the frame is kept here until it is
committed. A commit is durable in the table's WAL, but not yet visible.
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
_UNREACHABLE = (
    QuestDBErrorCode.SocketError,
    QuestDBErrorCode.ServerFlushError,
    QuestDBErrorCode.CouldNotResolveAddr,
    QuestDBErrorCode.AuthError,
    QuestDBErrorCode.HttpNotSupported,
)
"""Errors of a server that is away or starting; any other error is a defect of ours, and raised."""
_DECIMAL = pa.decimal128(38, 18)


@dataclass(frozen=True)
class RejectedRow:
    """A row that QuestDB rejected: its index among the given rows, and QuestDB's reason."""

    row: int
    reason: str


class QuestDBWriter:
    """A connection that writes to QuestDB. Blocking; use it from one thread at a time."""

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

    def commit(self, batches: Sequence[Batch]) -> list[RejectedRow]:
        """Commit the rows of batches of one kind in one transaction and return those rejected.

        Raises ConnectError when QuestDB cannot be reached. The rows may or may not be committed then; repeating the
        call is safe, because the table deduplicates by key.
        """
        frame = to_frame(batches)
        rejected: list[RejectedRow] = []
        self._commit(batches[0].kind, frame, np.arange(len(frame)), rejected)
        return rejected

    def _commit(
        self, kind: Kind, frame: pd.DataFrame, positions: NDArray[np.int64], rejected: list[RejectedRow]
    ) -> None:
        """Commit `frame`, append rejected rows to `rejected`; `positions` are its rows' indices over all batches."""
        while len(positions):
            try:
                self._flush(kind, frame)
            except QuestDBError as error:
                if error.code not in _UNREACHABLE:
                    raise
                fault = _row_fault(error)
                if fault is None:
                    self.close()
                    raise ConnectError(
                        f"questdb: no answer from {self._address}: {error}",
                        remedy="Look at its log; `tapehouse status` shows whether it runs.",
                    ) from error
                line, reason = fault
                if line is not None and line <= len(positions):
                    rejected.append(RejectedRow(int(positions[line - 1]), reason))
                    keep = np.arange(len(positions)) != line - 1
                    frame, positions = frame[keep], positions[keep]
                elif len(positions) == 1:
                    rejected.append(RejectedRow(int(positions[0]), reason))
                    return
                else:
                    middle = len(positions) // 2
                    self._commit(kind, frame[:middle], positions[:middle], rejected)
                    frame, positions = frame[middle:], positions[middle:]
            else:
                return

    def _flush(self, kind: Kind, frame: pd.DataFrame) -> None:
        if self._sender is None:
            self._sender = Sender.from_conf(self._conf)
            self._sender.establish()  # type: ignore[no-untyped-call]
        with self._sender.transaction(kind.name) as transaction:
            transaction.dataframe(frame, at=kind.time)


def _row_fault(error: QuestDBError) -> tuple[int | None, str] | None:
    """(line from 1 or None, reason) of an error about rows; None for any other error."""
    if error.code != QuestDBErrorCode.ServerFlushError:
        return None
    match = re.search(r"\{.*\}", str(error), re.DOTALL)
    if match is None:
        return None
    try:
        response: dict[str, Any] = json.loads(match[0], strict=False)
    except json.JSONDecodeError:
        return None
    if response.get("code") != "invalid":
        return None
    reason = str(response.get("message", "")).rsplit("\n", 1)[-1]
    if "table does not exist" in reason or "does not exist, creating new columns is disabled" in reason:
        raise TapehouseError(
            f"questdb: the schema is outdated: {reason}",
            remedy="Restart the platform: `tapehouse up` applies the migrations.",
        ) from error
    return response.get("line"), f"questdb: {reason}"


def to_frame(batches: Sequence[Batch]) -> pd.DataFrame:
    """The rows of batches of one kind as a pandas frame for the QuestDB client; symbols are categories."""
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
        # The client rejects categories without values; an omitted column is null.
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
    data = np.ascontiguousarray(data)  # a column sent as one row is a broadcast view
    if column.type == "time":
        return data.view("datetime64[ns]")
    if column.type == "decimal":
        buffers = [None, pa.py_buffer(data.view(np.uint8))]
        return pd.array(pa.Array.from_buffers(_DECIMAL, len(data), buffers), dtype=pd.ArrowDtype(_DECIMAL))
    return data
