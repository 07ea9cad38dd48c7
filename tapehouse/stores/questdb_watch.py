"""Response timeouts for QuestDB connections: psycopg has none, and a stalled server sends nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

_POLL_S = 0.25
"""How often deadlines are checked."""
_IDLE_S = 30.0


class NoAnswerInTimeError(psycopg.OperationalError):
    """The server did not answer in time; the connection has been shut down."""


class _Watch:
    """Shuts down connections at their deadline. One thread for all; it ends after a while without deadlines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[object, tuple[float, psycopg.Connection[Any]]] = {}
        self._running = False

    def begin(self, connection: psycopg.Connection[Any], seconds: float) -> object:
        """Shut the connection down in `seconds`, unless `end` is called with the returned token before."""
        token = object()
        with self._changed:
            self._waiting[token] = (time.monotonic() + seconds, connection)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="questdb-watch", daemon=True).start()
        return token

    def end(self, token: object) -> bool:
        """Remove the deadline of a token; returns whether it had not passed."""
        with self._changed:
            return self._waiting.pop(token, None) is not None

    def _run(self) -> None:
        idle = time.monotonic() + _IDLE_S
        with self._changed:
            while True:
                now = time.monotonic()
                if self._waiting:
                    idle = now + _IDLE_S
                elif now >= idle:
                    self._running = False
                    return
                expired = [token for token, (deadline, _) in self._waiting.items() if deadline <= now]
                for token in expired:
                    _shut_down(self._waiting.pop(token)[1])
                self._changed.wait(_POLL_S)


_WATCH = _Watch()


@contextmanager
def answered_within(connection: psycopg.Connection[Any], seconds: float | None) -> Iterator[None]:
    """Shut the connection down if the body takes longer than `seconds`: NoAnswerInTimeError is raised then."""
    if seconds is None:
        yield
        return
    token = _WATCH.begin(connection, seconds)
    try:
        yield
    except psycopg.OperationalError as reason:
        if not _WATCH.end(token):
            raise NoAnswerInTimeError(f"none within {seconds:g} s") from reason
        raise
    finally:
        _WATCH.end(token)


def _shut_down(connection: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
