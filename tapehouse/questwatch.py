"""Cutting connections to QuestDB that are waited for too long: a server that stands still says nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

_LOOK_S = 0.25
"""How often it is looked whether an answer is late."""
_IDLE_S = 30.0


class _Watch:
    """Cuts connections that are waited for too long; one thread for all, as long as there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[object, tuple[float, psycopg.Connection[Any]]] = {}
        self._running = False

    def begin(self, connection: psycopg.Connection[Any], seconds: float) -> object:
        """Cut it in so many seconds, unless the token that this returns is ended before."""
        token = object()
        with self._changed:
            self._waiting[token] = (time.monotonic() + seconds, connection)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="questdb-watch", daemon=True).start()
        return token

    def end(self, token: object) -> None:
        """It was answered."""
        with self._changed:
            self._waiting.pop(token, None)

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
                late = [token for token, (at, _) in self._waiting.items() if at <= now]
                for token in late:
                    _cut(self._waiting.pop(token)[1])
                self._changed.wait(_LOOK_S)


_WATCH = _Watch()


@contextmanager
def answered_within(connection: psycopg.Connection[Any], seconds: float | None) -> Iterator[None]:
    """Cut a connection that is still waited for after so many seconds; psycopg.OperationalError comes of it."""
    if seconds is None:
        yield
        return
    token = _WATCH.begin(connection, seconds)
    try:
        yield
    finally:
        _WATCH.end(token)


def _cut(connection: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
