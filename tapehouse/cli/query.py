"""tapehouse query: rows or bars as a table, a file or a stream of CSV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    import polars as pl

    from gateway.query import Fill, Query
    from tapehouse.settings import Settings

_TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("symbol")
@click.option("--venue", default="", help="The source, such as sim or comex. Account trades have none.")
@click.option("--start", required=True, help="First instant, inclusive: 2024-08-09T00:00:00Z, a date, or ns.")
@click.option("--end", required=True, help="Last instant, exclusive.")
@click.option("--interval", help="Of bars: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w 1M.")
@click.option(
    "--fill",
    type=click.Choice(["none", "flat"]),
    default="none",
    help="flat: empty intervals as bars at the close before, with volume 0.",
)
@click.option("--out", metavar="FILE", help="FILE.parquet, FILE.csv, or - for CSV on standard output.")
@options.home
def command(
    kind: str,
    symbol: str,
    venue: str,
    start: str,
    end: str,
    interval: str | None,
    fill: Fill,
    out: str | None,
    home: Path | None,
) -> None:
    """Read trades, quotes, bars or account trades of SYMBOL with START <= time < END.

    KIND is trades, quotes, bars, or account_trades, whose SYMBOL is an account's id. A bar's time is its
    start, and every bar is whole.
    """
    from gateway.query import Query
    from gateway.stores.questdb import QuestStore
    from tapehouse.clock import parse_ns
    from tapehouse.errors import UsageError
    from tapehouse.settings import load

    if out and out != "-" and Path(out).suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out: expected FILE.parquet, FILE.csv or -, was {out!r}")
    query = Query(kind, venue, symbol, parse_ns(start), parse_ns(end), interval, fill)
    settings = load(home)
    _refuse_cold(settings, query)
    with QuestStore(settings.questdb) as store:
        if out is None:
            _show(store.read(query))
        elif out.endswith(".parquet"):
            rows = store.read(query)
            rows.write_parquet(out)
            click.echo(f"{rows.height:,} rows to {out}")
        elif out == "-":
            for place, page in enumerate(store.stream(query)):
                sys.stdout.write(page.write_csv(include_header=place == 0, datetime_format=_TIME))
        else:
            count = 0
            with Path(out).open("w") as file:
                for place, page in enumerate(store.stream(query)):
                    file.write(page.write_csv(include_header=place == 0, datetime_format=_TIME))
                    count += page.height
            click.echo(f"{count:,} rows to {out}")


def _refuse_cold(settings: Settings, query: Query) -> None:
    """A short answer must not look like a whole one: days that ClickHouse owns are not in QuestDB."""
    from gateway.coverage import cold_days
    from tapehouse.clickhouse import ClickHouseClient
    from tapehouse.errors import ColdStoreError, ConnectError, UsageError

    client = ClickHouseClient(settings.clickhouse)
    try:
        days = cold_days(client, query)
    except (ConnectError, ColdStoreError) as reason:
        click.echo(f"days that ClickHouse owns, if any, are not in this answer: {reason.message}", err=True)
        return
    finally:
        client.close()
    if days:
        table = "bars_1m" if query.kind == "bars" else query.kind
        raise UsageError(
            f"query: {query.kind} of {len(days):,} days from {days[0]} to {days[-1]} were handed over to ClickHouse, "
            "which is not read here yet",
            remedy=f"Ask for other days, or ask ClickHouse: the table {settings.clickhouse.database}.{table}.",
        )


def _show(rows: pl.DataFrame) -> None:
    """A table that fits the terminal; plain CSV when piped."""
    if not sys.stdout.isatty():
        sys.stdout.write(rows.write_csv(datetime_format=_TIME))
        return
    import shutil

    import polars as pl

    width = shutil.get_terminal_size().columns
    with pl.Config(tbl_rows=40, tbl_cols=-1, tbl_width_chars=width, tbl_hide_dataframe_shape=True):
        click.echo(rows)
    click.echo(f"{rows.height:,} rows")
