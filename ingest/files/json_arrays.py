"""Unpacks JSON arrays into lines, one element a line, each as it is written in its array."""

from __future__ import annotations

import codecs
import json
import re
from typing import IO

from ingest.files.lines import BLOCK_BYTES, FileStream
from ingest.files.unpacking import Unpacking, untold
from tapehouse.errors import SourceError

_BLANK = re.compile(r"[ \t\r\n]*")
_GAP = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")
_END = re.compile(r"[ \t\r\n]*[,\]]")
_READ_BYTES = BLOCK_BYTES
_SHOWN = 40
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)
_REMEDY = "Nothing of it is stored. Write or fetch the file again, or give JSON lines."


def unpack_array(stream: FileStream, lines: IO[bytes], unpacking: Unpacking = untold) -> None:
    """Write the elements of the array in `stream`, or of several one after the other, to `lines`. Numbers stay the
    text that they are.

    Raises SourceError where it is not an array of JSON values, or ends early; the elements before are written.
    """
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    text, inside = "", False
    while True:
        part = stream.read(_READ_BYTES)
        try:
            text += decode(part, not part)
        except UnicodeDecodeError as reason:
            raise SourceError(
                f"{stream.name}: expected UTF-8, was another byte: {reason}", remedy=_REMEDY
            ) from None
        place, inside = _write_elements(text, inside, not part, lines)
        text = text[place:]
        unpacking(stream.fraction)
        if not part:
            _check_end(stream, text, inside)
            return
        if len(text) > BLOCK_BYTES:
            raise SourceError(
                f"{stream.name}: expected elements of at most {BLOCK_BYTES} bytes, was a longer one",
                remedy=_REMEDY,
            )


def _write_elements(text: str, inside: bool, ended: bool, lines: IO[bytes]) -> tuple[int, bool]:
    """Write the elements that are whole; (the place after them, whether it is inside an array).

    `inside`: whether the text begins inside an array. `ended`: whether nothing follows it.
    """
    place = 0
    while True:
        if not inside:
            place = _BLANK.match(text, place).end()  # type: ignore[union-attr]
            if text[place : place + 1] != "[":
                return place, inside
            place, inside = place + 1, True
        place = _GAP.match(text, place).end()  # type: ignore[union-attr]
        if text[place : place + 1] == "]":
            place, inside = place + 1, False
            continue
        try:
            end = _DECODER.raw_decode(text, place)[1]
        except (json.JSONDecodeError, RecursionError):
            return place, inside
        # A number at the end of a part may go on in the next.
        if not (ended or _END.match(text, end)):
            return place, inside
        lines.write(re.sub(r"[\r\n]+", " ", text[place:end]).encode() + b"\n")
        place = end


def _check_end(stream: FileStream, rest: str, inside: bool) -> None:
    """Raise SourceError where an array is not at its end, or something else follows."""
    if stream.damage is not None:
        raise stream.damage
    if inside:
        raise SourceError(
            f"{stream.name}: expected a JSON array, was cut or damaged from {rest[:_SHOWN]!r} on",
            remedy=_REMEDY,
        )
    if rest:
        raise SourceError(
            f"{stream.name}: expected nothing after a JSON array but another one, was {rest[:_SHOWN]!r}",
            remedy=_REMEDY,
        )
