"""Cursors: the key of the last row of a page as text, for the page behind it."""

from __future__ import annotations

import base64
import binascii
import json

from gateway.query import Key, is_name
from tapehouse.clock import MAX_TS
from tapehouse.errors import UsageError
from tapehouse.model import KINDS

_LONGEST = 2_000


def written_cursor(key: Key) -> str:
    """A key as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def read_cursor(text: str, kind: str) -> Key:
    """The key that a cursor of a kind holds; UsageError where it is none."""
    wrong = UsageError(
        f"cursor: expected what the page before gave as next, was {text[:80]!r}",
        remedy="Ask for the first page again, without a cursor.",
    )
    if len(text) > _LONGEST:
        raise wrong
    try:
        key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise wrong from None
    columns = [KINDS[kind].column(name) for name in KINDS[kind].key]
    if not isinstance(key, list) or len(key) != len(columns):
        raise wrong
    types = {"symbol": str, "flag": bool}
    for value, column in zip(key, columns, strict=True):
        if type(value) is not types.get(column.type, int) or (isinstance(value, int) and abs(value) >= 2**63):
            raise wrong
        if isinstance(value, str) and not is_name(value):
            raise wrong
    if not 0 <= key[0] < MAX_TS:
        raise wrong
    return tuple(key)
