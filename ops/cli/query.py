"""tapehouse query: rows or bars as a table, a file, or CSV on standard output."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli import options
from ops.terminal import echo, echo_json

if TYPE_CHECKING:
    from gateway.query import Query
    from ops.export.rows import Rows
    from tapehouse.settings import Settings


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("symbols", metavar="[SYMBOL,...]", default="")
@click.option(
    "--symbol", "more", multiple=True, help="One more symbol, taken as it is; may be given several times."
)
@click.option(
    "--venue",
    default="",
    help="Source of the rows, such as sim or comex; not needed where one venue has the symbols.",
)
@click.option(
    "--start",
    help="Start, inclusive: 2024-08-09T00:00:00Z, a date (00:00 UTC), ns since 1970, -1h, -5d, today, yesterday.",
)
@click.option("--end", help="End, exclusive  [default: up to the newest row]")
@click.option("--last", type=int, help="Only the last N rows of each symbol; --start is optional then.")
@click.option("--limit", type=int, help="Only the first N rows.")
@click.option(
    "--interval",
    help="Interval of bars and candles: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w 1M, or a custom one such as 7m, 90m, 6h.",
)
@click.option(
    "--fill",
    type=click.Choice(["none", "flat"]),
    default="none",
    help="flat: return empty intervals as bars at the previous close with volume 0.",
)
@click.option("--open/--no-open", default=True, help="--no-open: without bars that are not final yet.")
@click.option("--columns", metavar="NAME,...", default="", help="Columns to return  [default: all]")
@click.option(
    "--flags",
    type=int,
    default=0,
    help="Exclude rows with any of these bits: 1 cancelled, 2 not in bars, 4 estimated time.",
)
@click.option(
    "--out", metavar="FILE", help="Write to FILE.parquet, FILE.csv or FILE.arrow; -: CSV on standard output."
)
@click.option("--store", help="timescale: account trades and their candles from TimescaleDB alone.")
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="In CSV, put ' before a text that a spreadsheet would take for a formula.",
)
@click.option(
    "--explain", is_flag=True, help="Show the plan (stores, spans, statements) without running the query."
)
@options.home
def command(
    kind: str,
    symbols: str,
    more: tuple[str, ...],
    venue: str,
    start: str | None,
    end: str | None,
    last: int | None,
    limit: int | None,
    interval: str | None,
    fill: str,
    open: bool,  # noqa: A002 - the option's name
    columns: str,
    flags: int,
    out: str | None,
    store: str | None,
    spreadsheet: bool,
    explain: bool,
    home: Path | None,
) -> None:
    """Query rows of SYMBOLs with START <= time < END.

    KIND is trades, quotes, depth, bars, gaps (SYMBOL and --venue are optional), or account_trades or account_candles
    (SYMBOL is an account's id). A bar or candle is returned whole if its start is in the span.
    """
    from gateway.query import Query
    from ops.export.outfile import SUFFIXES
    from tapehouse.errors import UnknownSeriesError, UsageError
    from tapehouse.platform import platform_settings

    if out and out != "-" and Path(out).suffix not in SUFFIXES:
        raise UsageError(f"--out: expected FILE{', FILE'.join(SUFFIXES)} or -, was {out!r}")
    query = Query.from_user(
        kind,
        venue=venue,
        symbols=[*_names(symbols), *more],
        start=start,
        end=end,
        last=last,
        limit=limit,
        columns=_names(columns),
        interval=interval,
        fill=fill,
        open=open,
        flags=flags,
        store=store,
    )
    settings = platform_settings(home)
    *attempts, listed = _readings(query, symbols)
    for attempt in attempts:
        with contextlib.suppress(UnknownSeriesError):
            _run(settings, attempt, out, explain, spreadsheet)
            return
    _run(settings, listed, out, explain, spreadsheet)


def _readings(query: Query, symbols: str) -> list[Query]:
    """What a list of symbols may mean, the list last: a comma may belong to a symbol, such as ES,H4."""
    from tapehouse.model import NAME_MAX, OF_ACCOUNTS

    if "," not in symbols or query.kind in OF_ACCOUNTS or len(symbols) > NAME_MAX:
        return [query]
    return [
        replace(query, symbols=tuple(dict.fromkeys([*query.symbols, symbols]))),
        replace(query, symbols=(symbols, *query.symbols[len(_names(symbols)) :])),
        query,
    ]


def _run(settings: Settings, query: Query, out: str | None, explain: bool, spreadsheet: bool) -> None:
    from ops.export.outfile import write_file, write_out
    from ops.export.rows import source
    from ops.export.table import print_rows

    with source(settings, query) as answering:
        if explain:
            _show_plan(answering.explain())
            return
        with answering.answer() as rows:
            if out and out != "-":
                count = write_file(rows, Path(out), spreadsheet=spreadsheet)
                echo(f"{count:,} rows to {out}{_served(rows)}")
            elif out or not sys.stdout.isatty():
                write_out(rows, spreadsheet=spreadsheet)
            else:
                count = print_rows(rows)
                echo(f"{count:,} rows{_served(rows)}")


def _names(text: str) -> list[str]:
    return text.split(",") if text else []


def _served(rows: Rows) -> str:
    """The number of rows read from each store; bars may be made from trades."""
    counts: dict[str, int] = {}
    for segment in rows.segments:
        counts[segment["store"]] = counts.get(segment["store"], 0) + segment["rows"]
    return f" (read: {', '.join(f'{store} {count:,}' for store, count in counts.items())})" if counts else ""


def _show_plan(document: dict[str, Any]) -> None:
    """Print the plan as text with its statements; as JSON when piped."""
    from tapehouse.client.display import Plan

    if not sys.stdout.isatty():
        echo_json(document, indent=2)
        return
    for segment in Plan(document).segments.iter_rows(named=True):
        end = "open" if segment["end"] is None else f"{segment['end']:%Y-%m-%d %H:%M:%S}"
        echo(f"{segment['store']}  {segment['start']:%Y-%m-%d %H:%M:%S} to {end}: {_expected_rows(segment)}")
        for told in filter(None, (segment["why"], segment["quality"])):
            echo(f"    {told}")
        echo(f"\n{segment['statement']}\n")


def _expected_rows(segment: dict[str, Any]) -> str:
    """The rows of a segment of a plan, and of all symbols where that is known."""
    if segment["rows"] is None:
        return "rows unknown"
    every = "" if segment["all_rows"] is None else f" of {segment['all_rows']:,} of all symbols"
    return f"{segment['rows']:,} rows{every}"
