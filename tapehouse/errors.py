"""Every error that Tapehouse raises on purpose.

TapehouseError                 exit status 1
├── UsageError                 exit status 2: the caller asked for something that cannot be
│   └── NaiveTimeError         a time without a zone
├── SettingsError              tapehouse.toml or TAPEHOUSE_* holds something unusable
├── WireError                  bytes that are no readable batch
├── SourceError                a file or capture that cannot be read at all
├── NumberingError             rows numbered otherwise than those already stored
├── ConflictError              rows that would overwrite different rows already stored
├── PublishError               the broker refused a batch for good
├── ConnectError               a part does not answer
├── ColdStoreError             ClickHouse refuses a statement
├── ProofError                 a copy of a day is not what it was copied from
├── StackError                 a part cannot be started or kept running
│   └── HomeInUseError         another run owns the home folder
└── MigrationError             the schema's files and its record disagree
"""

from __future__ import annotations

from typing import Any


class TapehouseError(Exception):
    """An error with its facts in `fields` and the way out in `remedy`; `exit_status` is the command's."""

    exit_status = 1

    def __init__(self, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(TapehouseError):
    """The caller asked for something that cannot be."""

    exit_status = 2


class NaiveTimeError(UsageError):
    """A time without a zone was given."""


class SettingsError(TapehouseError):
    """tapehouse.toml or the environment holds something unusable."""


class WireError(TapehouseError):
    """Bytes that are no readable batch: truncated, foreign or from a newer version."""


class SourceError(TapehouseError):
    """A file or capture that cannot be read at all."""


class NumberingError(TapehouseError):
    """Rows numbered otherwise than those already stored for the same kind, venue and symbol."""


class ConflictError(TapehouseError):
    """Rows that would overwrite different rows already stored."""


class PublishError(TapehouseError):
    """The broker refused a batch for good."""


class ConnectError(TapehouseError):
    """A part of the platform does not answer."""


class ColdStoreError(TapehouseError):
    """ClickHouse refuses a statement; `fields["code"]` is its number for the reason."""


class ProofError(TapehouseError):
    """A copy of a day is not, or is not known to be, what it was copied from."""


class StackError(TapehouseError):
    """A part of the platform cannot be started or kept running."""


class HomeInUseError(StackError):
    """Another run owns the home folder."""


class MigrationError(TapehouseError):
    """The schema's files and the record of what was applied disagree."""
