"""Resumes tables that QuestDB has suspended.

QuestDB suspends a table when it cannot apply committed rows, as on a full disk. Commits still go to the table's
WAL, but become visible only when the table is resumed, which QuestDB does not do by itself. While the cause
persists, a resumed table is suspended again at once, so resuming it is harmless.
"""

from __future__ import annotations

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import as_owner


def resume_suspended_tables(settings: QuestDB) -> str:
    """Resume all suspended tables and views; returns their names with reasons, or an empty string.

    Blocking. Raises ConnectError when QuestDB does not answer or rejects a statement.
    """
    try:
        with as_owner(settings) as connection:
            found = connection.execute(
                "SELECT name, errorTag, errorMessage FROM wal_tables() WHERE suspended"
            ).fetchall()
            if not found:
                return ""
            views = {name for (name,) in connection.execute("SELECT view_name FROM materialized_views()")}
            for name, _, _ in found:
                object_type = "MATERIALIZED VIEW" if name in views else "TABLE"
                connection.execute(f'ALTER {object_type} "{name}" RESUME WAL'.encode())
    except TapehouseError as reason:
        raise ConnectError(f"questdb: suspended tables cannot be resumed: {reason.message}") from reason
    return "; ".join(f"{name} ({tag or message or 'no reason given'})" for name, tag, message in found)
