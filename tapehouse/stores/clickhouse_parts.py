"""Rows and bytes that ClickHouse stores by day, from system.parts, on one server or a cluster."""

from __future__ import annotations

from typing import NamedTuple

from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient


class StoredDay(NamedTuple):
    """The rows and bytes of one day of a table."""

    rows: int
    bytes: int
    """Compressed, on the disk."""


def parts_table(settings: ClickHouse) -> str:
    """The FROM clause for the parts of all servers; on a cluster, of one replica of each shard."""
    return f"cluster('{settings.cluster}', system.parts)" if settings.cluster else "system.parts"


def local_table(settings: ClickHouse, table: str) -> str:
    """The name of the table that stores the rows of `table`: on a cluster not the Distributed table itself."""
    return f"{table}_local" if settings.cluster else table


def read_stored_days(client: ClickHouseClient, settings: ClickHouse, table: str) -> dict[str, StoredDay]:
    """Rows and bytes by day (YYYY-MM-DD) of a table partitioned by day. Reads only metadata."""
    found = client.fetch(
        f"SELECT partition, sum(rows), sum(bytes_on_disk) FROM {parts_table(settings)} "  # noqa: S608
        "WHERE active AND database = {database:String} AND table = {table:String} GROUP BY partition",
        {"database": settings.database, "table": local_table(settings, table)},
    )
    return {
        f"{number[:4]}-{number[4:6]}-{number[6:]}": StoredDay(int(rows), int(size))
        for number, rows, size in found
    }


def count_stored_days(client: ClickHouseClient, settings: ClickHouse) -> int:
    """The number of days of which ClickHouse stores rows of any kind. Reads only metadata."""
    found = client.fetch(
        f"SELECT uniqExact(partition) FROM {parts_table(settings)} "  # noqa: S608
        "WHERE active AND rows > 0 AND database = {database:String} AND match(partition, '^[0-9]{8}$')",
        {"database": settings.database},
    )
    return int(found[0][0])
