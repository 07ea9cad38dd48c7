"""Rows from QuestDB as Parquet over HTTP: the fastest way out of it for more than a few."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.settings import QuestDB

_CONNECTIONS = 16
_LONGEST = 60_000
"""Of a request, in bytes: QuestDB closes the connection of a longer one."""


class QuestExport:
    """Connections to the export, kept open; for several threads at a time."""

    def __init__(self, settings: QuestDB, timeout_s: float) -> None:
        """An answer that stands still for `timeout_s` is given up."""
        self._where = f"{settings.host}:{settings.http_port}"
        account = f"{settings.user}:{settings.password.get_secret_value()}"
        self._pool = urllib3.HTTPConnectionPool(
            settings.host,
            settings.http_port,
            timeout=urllib3.Timeout(connect=5, read=timeout_s),
            maxsize=_CONNECTIONS,
            retries=False,
            headers=urllib3.make_headers(basic_auth=account),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def table(self, statement: str, bound: Sequence[str | int] = ()) -> pa.Table:
        """The rows of a statement, its %s replaced by `bound` as literals.

        Raises ConnectError when QuestDB does not answer or the answer is cut, TapehouseError when it refuses.
        """
        path = "/exp?" + urlencode({"fmt": "parquet", "query": written(statement, bound)})
        if len(path) > _LONGEST:
            raise TapehouseError(
                f"questdb: expected a request of at most {_LONGEST:,} bytes, was {len(path):,}",
                remedy="Ask for fewer symbols at a time.",
            )
        try:
            answer = self._pool.request("GET", path)
        except (urllib3.exceptions.HTTPError, OSError) as reason:
            raise ConnectError(
                f"questdb: no answer from {self._where}, or a cut one: {reason!r}",
                remedy="Start the platform with `tapehouse up`, or look at its log.",
            ) from reason
        if answer.status != 200:
            raise TapehouseError(f"questdb: {answer.status} {answer.data[:300].decode(errors='replace')}")
        try:
            # Read by one thread: there are as many as there are answers.
            return pq.read_table(pa.BufferReader(answer.data), use_threads=False)
        except (pa.ArrowInvalid, OSError) as reason:
            # Without its footer the file is known to be cut.
            raise ConnectError(f"questdb: the answer of {self._where} was cut: {reason}") from reason


def written(statement: str, bound: Sequence[str | int]) -> str:
    """A statement with its %s replaced by literals: HTTP binds no parameters."""
    parts = statement.split("%s")
    literals = [str(value) if isinstance(value, int) else _quoted(value) for value in bound]
    if len(parts) != len(literals) + 1:
        raise TapehouseError(f"statement: expected {len(parts) - 1} values, was {len(literals)}")
    return "".join(part + literal for part, literal in zip(parts, [*literals, ""], strict=True))


def _quoted(text: str) -> str:
    if "\0" in text:
        raise TapehouseError(f"questdb: expected text without NUL, was {text!r}")
    return "'" + text.replace("'", "''") + "'"
