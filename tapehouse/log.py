"""Logging with structlog: one JSON object a line, or formatted lines on a terminal."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from tapehouse.printable import printable


def configure(*, quiet: bool = False) -> None:
    """Configure logging to standard error; call it once in main. With `quiet`, only errors are logged."""
    level = logging.ERROR if quiet else logging.INFO
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *(
                (_printable, structlog.dev.ConsoleRenderer())
                if terminal
                else (structlog.processors.JSONRenderer(),)
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Standard error as it is at each write: while a board or a bar is shown, it prints above that."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}
