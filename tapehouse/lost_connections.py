"""Why a connection failed, in words: the errors of libraries name classes, objects and bytes."""

from __future__ import annotations

from http.client import HTTPException

import urllib3


def reason_in_words(reason: BaseException) -> str:
    """The innermost of the errors that `reason` wraps, as a person would say it."""
    while reason.__cause__ is not None:
        reason = reason.__cause__
    inner = [part for part in reason.args if isinstance(part, BaseException)]
    if inner:
        return reason_in_words(inner[0])
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    if isinstance(reason, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return "nothing came in time"
    if isinstance(reason, urllib3.exceptions.DecodeError):
        return "its compression is damaged"
    if isinstance(reason, (urllib3.exceptions.HTTPError, HTTPException)):
        return "the connection was closed"
    return str(reason).rpartition(": ")[2] or type(reason).__name__
