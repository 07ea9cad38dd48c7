"""Cursors: the key of a page's last row as text, with which the next page is requested."""

from __future__ import annotations

import base64
import binascii
import json

from gateway.query import RowKey, is_valid_name
from tapehouse.clock import MAX_TS
from tapehouse.errors import UsageError
from tapehouse.model import KINDS

_MAX_LENGTH = 2_000


def encode_cursor(key: RowKey) -> str:
    """A row key as URL-safe base64 text."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def decode_cursor(text: str, kind: str) -> RowKey:
    """The row key in a cursor of a kind. Raises UsageError if the text is not such a cursor."""
    invalid = UsageError(
        f"cursor: expected the `next` of the page before, was {text[:80]!r}",
        remedy="Request the first page again, without a cursor.",
    )
    if len(text) > _MAX_LENGTH:
        raise invalid
    try:
        key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise invalid from None
    columns = [KINDS[kind].column(name) for name in KINDS[kind].key]
    if not isinstance(key, list) or len(key) != len(columns):
        raise invalid
    types = {"symbol": str, "flag": bool}
    for value, column in zip(key, columns, strict=True):
        if type(value) is not types.get(column.type, int) or (isinstance(value, int) and abs(value) >= 2**63):
            raise invalid
        if isinstance(value, str) and not is_valid_name(value):
            raise invalid
    if not 0 <= key[0] < MAX_TS:
        raise invalid
    return tuple(key)
