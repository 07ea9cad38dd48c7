"""Text from outside, made safe for a terminal: symbols, reasons and file names may contain anything."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with what a terminal would act on, or could not show, as escapes such as \x1b.

    Line ends and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str) -> str:
    """As `printable`, with each run of white space as one space."""
    return printable(" ".join(text.split()))
