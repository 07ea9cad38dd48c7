"""The errors that Tapehouse raises.

TapehouseError                 exit status 1
├── UsageError                 exit status 2: an invalid request or argument
│   ├── NaiveTimeError         a time without a zone
│   └── UnknownSeriesError     a venue or symbol that is not stored
├── SettingsError              an invalid setting in tapehouse.toml or TAPEHOUSE_*
├── WireError                  bytes that are not a valid batch or frame
├── SourceError                a file or capture that cannot be read
├── NumberingError             rows numbered differently than those already stored
├── PublishError               NATS permanently rejected a batch
├── ConnectError               a part of the platform does not answer
├── ColdStoreError             ClickHouse rejected a statement
├── TimescaleError             TimescaleDB rejected a statement, or its server cannot be used
│   └── TimescaleConflictError a transaction was rolled back for another one's sake: repeat it
├── ProofError                 a copy of a day differs from the original
├── StackError                 a part cannot be started or kept running
│   └── HomeInUseError         another process runs the platform of the home folder
└── MigrationError             the SQL files and the record of applied ones disagree
"""

from __future__ import annotations

from typing import Any


class TapehouseError(Exception):
    """The base class. `fields` has details, `remedy` says what to do, `exit_status` is that of the command line."""

    exit_status = 1

    def __init__(self, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(TapehouseError):
    """An invalid request or argument."""

    exit_status = 2


class NaiveTimeError(UsageError):
    """A time without a time zone was given."""


class UnknownSeriesError(UsageError):
    """A venue or symbol that is not stored; `fields` has both, the message names near ones."""


class SettingsError(TapehouseError):
    """An invalid setting in tapehouse.toml or the environment."""


class WireError(TapehouseError):
    """Bytes that are not a valid batch or frame: truncated, of another format or of another version."""


class SourceError(TapehouseError):
    """A file or capture that cannot be read."""


class NumberingError(TapehouseError):
    """Rows numbered differently than those already stored for the same kind, venue and symbol."""


class PublishError(TapehouseError):
    """NATS permanently rejected a batch."""


class ConnectError(TapehouseError):
    """A part of the platform does not answer."""


class ColdStoreError(TapehouseError):
    """ClickHouse rejected a statement; `fields["code"]` is its error code."""


class TimescaleError(TapehouseError):
    """TimescaleDB rejected a statement, or its server cannot be used; `fields["code"]` is the SQLSTATE, if any."""


class TimescaleConflictError(TimescaleError):
    """A transaction was rolled back for another one's sake; repeated it may succeed."""


class ProofError(TapehouseError):
    """A copy of a day differs from the original, or could not be verified."""


class StackError(TapehouseError):
    """A part of the platform cannot be started or kept running."""


class HomeInUseError(StackError):
    """Another process runs the platform of the home folder."""


class MigrationError(TapehouseError):
    """The SQL files and the record of applied ones disagree."""
