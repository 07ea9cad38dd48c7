"""What `tapehouse doctor` looks at: memory, ports, and rows that a loss of power has damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ops.stack.listeners import holder, is_free
from tapehouse.model import Kind
from tapehouse.settings import ClickHouse, Gateway, Nats, QuestDB
from tapehouse.stores.questdb import QuestReader

_USUAL = {
    "nats": urlsplit(Nats().url).port or 0,
    "questdb-http": QuestDB().http_port,
    "questdb-pg": QuestDB().pg_port,
    "clickhouse": ClickHouse().http_port,
    "gateway": Gateway().port,
}
_SCAN_S = 120.0


def available_memory() -> int:
    """The memory in bytes that programs can use without swapping others out."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kibibytes) * 1024


def taken_ports(folder: Path, asked: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """The ports that the next start in the home `folder` would look for and not get: name -> port and its holder."""
    saved = folder / "ports.json"
    wanted = {**_USUAL, **(json.loads(saved.read_text()) if saved.exists() else {}), **asked}
    return {name: (port, holder(port)) for name, port in wanted.items() if port and not is_free(port)}


def zeroed_rows(settings: QuestDB, kinds: Iterable[Kind]) -> dict[str, int]:
    """Rows whose time is 0, by table, of these kinds. Reads the times of all rows.

    QuestDB can leave such rows after the machine lost power: it does not sync each commit. Raises ConnectError when
    QuestDB does not answer.
    """
    with QuestReader(settings, _SCAN_S) as reader:
        counts = {kind.name: int(reader.fetch(_zeroed(kind))[0][0]) for kind in kinds}
    return {table: rows for table, rows in counts.items() if rows}


def _zeroed(kind: Kind) -> str:
    return f"SELECT count() FROM {kind.name} WHERE cast({kind.time} AS long) = 0"  # noqa: S608
