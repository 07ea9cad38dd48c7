"""The policies of TimescaleDB as documented, those that a database has, and the statements that make them equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tapehouse.errors import TimescaleError
from tapehouse.stores.timescale import TimescaleClient

Action = Literal["refresh", "compress", "drop"]
_PROCEDURES: dict[Action, str] = {
    "refresh": "policy_refresh_continuous_aggregate",
    "compress": "policy_compression",
    "drop": "policy_retention",
}
_NAMES: dict[Action, str] = {
    "refresh": "continuous_aggregate_policy",
    "compress": "compression_policy",
    "drop": "retention_policy",
}
_SCHEDULES = {"1m": "1 minute", "30m": "5 minutes", "1h": "10 minutes", "4h": "30 minutes", "1d": "1 hour"}
VIEWS = tuple(f"candlesticks_{name}" for name in _SCHEDULES)
"""The continuous aggregates, from the shortest interval to the longest."""
_FOUND = """
    SELECT jobs.job_id, jobs.scheduled, extract(epoch FROM jobs.schedule_interval)::FLOAT,
        extract(epoch FROM (jobs.config->>%s)::INTERVAL)::FLOAT,
        extract(epoch FROM (jobs.config->>'end_offset')::INTERVAL)::FLOAT,
        CASE WHEN isfinite(stats.next_start) THEN to_char(stats.next_start AT TIME ZONE 'UTC', %s) END,
        stats.last_run_status,
        (SELECT err_message FROM timescaledb_information.job_errors AS errors WHERE errors.job_id = jobs.job_id
            ORDER BY finish_time DESC LIMIT 1)
    FROM timescaledb_information.jobs AS jobs LEFT JOIN timescaledb_information.job_stats AS stats USING (job_id)
    WHERE jobs.proc_name = %s AND jobs.hypertable_name = %s AND jobs.hypertable_schema = current_schema()"""
_LENGTHS = ((31_557_600, "y"), (86_400, "d"), (3_600, "h"), (60, "m"))


@dataclass(frozen=True)
class Policy:
    """What is done to `table`, a table or a continuous aggregate.

    after: how old rows are then, as PostgreSQL writes intervals; of a refresh how far back it reaches.
    until: of a refresh how old the newest rows are; else "".
    every: of a refresh how often; "" is the server's own choice.
    """

    action: Action
    table: str
    after: str
    until: str = ""
    every: str = ""

    @property
    def statement(self) -> str:
        """The SQL that adds it."""
        if self.action == "refresh":
            return (
                f"SELECT add_continuous_aggregate_policy('{self.table}', start_offset => INTERVAL '{self.after}', "
                f"end_offset => INTERVAL '{self.until}', schedule_interval => INTERVAL '{self.every}')"
            )
        return f"SELECT add_{_NAMES[self.action]}('{self.table}', INTERVAL '{self.after}')"

    @property
    def removal(self) -> str:
        """The SQL that removes that of the same table and action, whatever its intervals."""
        return f"SELECT remove_{_NAMES[self.action]}('{self.table}')"


DOCUMENTED = (
    Policy("drop", "trades", "30 days"),
    Policy("compress", "trades", "7 days"),
    Policy("drop", "candlesticks", "7 years"),
    # No refresh reaches further back than trades are kept: it would delete the rows of those that were dropped.
    *(
        Policy("refresh", view, "30 days", "1 minute", every)
        for view, every in zip(VIEWS, _SCHEDULES.values(), strict=True)
    ),
    *(Policy("drop", view, "7 years") for view in VIEWS),
)


@dataclass(frozen=True)
class FoundPolicy:
    """The job of a policy in a database; lengths in seconds, None where it has none."""

    job: int
    scheduled: bool
    every_s: float
    after_s: float | None
    until_s: float | None
    next_run: str | None
    """In UTC, as MM-DD HH:MM; None while it runs, or if it never will."""
    last_result: str | None
    """Success or Failed; None before the first run."""
    last_error: str | None


@dataclass(frozen=True)
class PolicyState:
    """A documented policy beside what was found; `mending` is the SQL that makes them equal, none if they are."""

    policy: Policy
    found: FoundPolicy | None
    documented: str
    """Its intervals in short, such as 30d to 1m / 5m: how far back a refresh reaches, up to when, and how often."""
    mending: tuple[str, ...]

    @property
    def found_text(self) -> str:
        """The intervals of the database in short, as `documented` has them."""
        if self.found is None:
            return "none"
        off = "" if self.found.scheduled else ", off"
        every = self.found.every_s if self.policy.every else None
        return _text(self.found.after_s, self.found.until_s, every) + off


def check_policies(client: TimescaleClient) -> list[PolicyState]:
    """Each documented policy beside what a database has. Raises TimescaleError where the schema is not applied."""
    if client.fetch("SELECT to_regclass('trades'), to_regclass(%s)", [VIEWS[-1]]) != [("trades", VIEWS[-1])]:
        raise TimescaleError(
            "timescale: expected the tables of ddl/timescale, were not there",
            remedy="Apply them: `tapehouse timescale check --apply`, or start the role `timescale`.",
        )
    return [_state(client, policy) for policy in DOCUMENTED]


def unseen_views(client: TimescaleClient) -> list[tuple[str, str]]:
    """(continuous aggregate that hides what came after its last refresh, the SQL that mends it)."""
    found = client.fetch(
        "SELECT view_name FROM timescaledb_information.continuous_aggregates "
        "WHERE view_name = ANY(%s) AND materialized_only ORDER BY view_name",
        [list(VIEWS)],
    )
    return [
        (name, f"ALTER MATERIALIZED VIEW {name} SET (timescaledb.materialized_only = false)")
        for (name,) in found
    ]


def apply(client: TimescaleClient, statements: list[str]) -> None:
    """Run the SQL of several differences in one transaction: no job sees the retention without its refresh window."""
    with client.transaction():
        for statement in statements:
            client.execute(statement)


def _state(client: TimescaleClient, policy: Policy) -> PolicyState:
    key = {"refresh": "start_offset", "compress": "compress_after", "drop": "drop_after"}[policy.action]
    rows = client.fetch(_FOUND, [key, "MM-DD HH24:MI", _PROCEDURES[policy.action], policy.table])
    found = FoundPolicy(*rows[0]) if rows else None
    ((after, until, every),) = client.fetch(
        "SELECT extract(epoch FROM %s::INTERVAL)::FLOAT, extract(epoch FROM nullif(%s, '')::INTERVAL)::FLOAT, "
        "extract(epoch FROM nullif(%s, '')::INTERVAL)::FLOAT",
        [policy.after, policy.until, policy.every],
    )
    mending = tuple(_mending(policy, found, after, until, every))
    return PolicyState(policy, found, _text(after, until, every), mending)


def _mending(
    policy: Policy, found: FoundPolicy | None, after: float, until: float | None, every: float | None
) -> Iterator[str]:
    if found is None:
        yield policy.statement
    elif (found.after_s, found.until_s) != (after, until) or (every and found.every_s != every):
        # Added again with other intervals it would be rejected.
        yield policy.removal
        yield policy.statement
    elif not found.scheduled:
        yield f"SELECT alter_job({found.job}, scheduled => true)"


def _text(after: float | None, until: float | None, every: float | None) -> str:
    text = "all" if after is None else _length(after)
    if until is not None:
        text += f" to {_length(until)}"
    return text + (f" / {_length(every)}" if every is not None else "")


def _length(seconds: float) -> str:
    for length, unit in _LENGTHS:
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"
