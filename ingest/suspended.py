"""Tables that QuestDB has suspended: found, and resumed.

QuestDB suspends a table when it cannot apply what is committed, as on a full disk. What is committed stays in
the table's WAL and more is taken, but nothing of it is visible until the table is resumed, which nobody does
by itself. A table whose reason lasts is suspended again at once, so trying costs nothing.
"""

from __future__ import annotations

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.questdb import as_owner
from tapehouse.settings import QuestDB


def resume_suspended(settings: QuestDB) -> str:
    """Resume what is suspended; says which tables were and why, empty where none was.

    Blocking. Raises ConnectError when QuestDB does not answer or refuses.
    """
    try:
        with as_owner(settings) as connection:
            found = connection.execute(
                "SELECT name, errorTag, errorMessage FROM wal_tables() WHERE suspended"
            ).fetchall()
            views = {name for (name,) in connection.execute("SELECT view_name FROM materialized_views()")}
            for name, _, _ in found:
                what = "MATERIALIZED VIEW" if name in views else "TABLE"
                connection.execute(f'ALTER {what} "{name}" RESUME WAL'.encode())
    except TapehouseError as reason:
        raise ConnectError(f"suspended tables cannot be looked for: {reason.message}") from reason
    return "; ".join(f"{name} ({tag or message or 'no reason given'})" for name, tag, message in found)
