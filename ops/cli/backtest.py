"""tapehouse backtest: runs a strategy on stored rows, or an earlier run again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli import options
from ops.terminal import echo

if TYPE_CHECKING:
    from analytics.backtest.report import Report
    from analytics.backtest.request import Request

_LIMITS = ("size", "position", "notional", "loss", "rate")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--symbols", help="Symbols, with commas.")
@click.option("--venue", "venues", multiple=True, help="The venue; given twice, each symbol of both.")
@click.option("--start", help="Start, inclusive, as for query.")
@click.option("--end", help="End, exclusive, as for query.")
@click.option("--interval", default="1m", show_default=True, help="Interval of the bars.")
@click.option("--capital", default="100000", show_default=True, help="Cash at the start.")
@click.option("--strategy", help="Its name, where FILE has several.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy.")
@click.option(
    "--fills",
    type=click.Choice(("next_open", "latency", "same_close")),
    default="next_open",
    show_default=True,
    help="When an order made from a bar may fill; same_close is optimistic.",
)
@click.option("--latency", default="0s", show_default=True, help="50ms; 20ms..80ms, drawn; or recorded.")
@click.option("--maker", default="0", show_default=True, help="Fee of a maker, a fraction.")
@click.option("--taker", default="0", show_default=True, help="Fee of a taker, a fraction.")
@click.option(
    "--slippage", default="0", show_default=True, help="What taking costs, a fraction of the price."
)
@click.option("--participation", default="1", show_default=True, help="Greatest part of a volume that fills.")
@click.option(
    "--max-age", default=60.0, show_default=True, help="Seconds after which a price is too old to fill."
)
@click.option("--tick", default="0.00000001", show_default=True, help="Least step of prices.")
@click.option("--lot", default="0.00000001", show_default=True, help="Least step of sizes.")
@click.option(
    "--clock",
    type=click.Choice(("event", "recv")),
    default="event",
    show_default=True,
    help="When ticks are known: at the venue's time, or when they were received.",
)
@click.option("--grace", default=0.0, show_default=True, help="Seconds after its end until a bar is known.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE",
              help=f"A limit of risk: {', '.join(_LIMITS)}.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--call-limit", default=10.0, show_default=True, help="CPU seconds for one call of the strategy."
)
@click.option("--causality", is_flag=True, help="Refuse a strategy that looks ahead.")
@click.option("--again", type=click.Path(path_type=Path, dir_okay=False), help="Repeat the run of this JSON.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the run as JSON.")
@options.home
def command(file: Path | None, again: Path | None, out: Path | None, home: Path | None, **given: Any) -> None:
    """Run the strategy of FILE on stored bars, trades and quotes; prints its report, JSON when piped.

    An order made from a bar fills at the open of the next one, unless --fills says otherwise. The JSON has all that
    makes the same run again: --again gives the same bytes, or says what has changed since.
    """
    from analytics.backtest import run
    from analytics.backtest.loading import load
    from tapehouse.client.address import connected
    from tapehouse.errors import TapehouseError, UsageError

    if (file is None) == (again is None):
        raise UsageError("backtest: expected the FILE of a strategy, or --again RUN.json")
    with connected(None, home) as db:
        if again is not None:
            report = run.again(again, lambda request: run.stored(db, request))
        else:
            assert file is not None
            path, request = file, _request(given)
            report = run.run(
                request,
                run.stored(db, request),
                lambda: load(path, given["strategy"]),
                check_causality=given["causality"],
            )
    if out is not None:
        out.write_text(run.text(report))
    if sys.stdout.isatty():
        _show(report)
    else:
        echo(run.text(report).rstrip("\n"))
    if report.outcome.fault is not None:
        raise TapehouseError(f"backtest: the strategy ended the run\n{report.outcome.fault}")


def _request(given: dict[str, Any]) -> Request:
    from analytics.backtest.request import Request
    from tapehouse.clock import now_ns
    from tapehouse.errors import UsageError
    from tapehouse.query_times import query_ns

    for name in ("symbols", "venues", "start", "end"):
        if not given[name]:
            option = "--venue" if name == "venues" else f"--{name}"
            raise UsageError(f"backtest: expected {option}")
    now = now_ns()
    limits = {name: _number(name, value) for name, value in _pairs("--limit", given["limits"]).items()}
    return Request(
        tuple(given["symbols"].split(",")),
        given["venues"],
        query_ns(given["start"], "start", now),
        query_ns(given["end"], "end", now),
        limits=limits,
        parameters=_pairs("--set", given["sets"]),
        max_age_s=given["max_age"],
        grace_s=given["grace"],
        call_s=given["call_limit"],
        **{
            name: given[name]
            for name in ("interval", "capital", "fills", "latency", "maker", "taker", "slippage",
                         "participation", "tick", "lot", "clock", "seed")
        },
    )  # fmt: skip


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    from tapehouse.errors import UsageError

    pairs = [one.partition("=") for one in given]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise UsageError(f"{option}: expected NAME=VALUE, was {name + equals + value!r}")
    return {name: value for name, _, value in pairs}


def _number(name: str, value: str) -> float:
    from tapehouse.errors import UsageError

    try:
        return float(value)
    except ValueError:
        raise UsageError(f"--limit {name}: expected a number, was {value!r}") from None


def _show(report: Report) -> None:
    """The report on a terminal."""
    from ops.export.table import print_frame
    from ops.terminal import add_row, console, table

    made = table("figure", "value", right=("value",))
    for name, value in report.figures.items():
        add_row(made, name.replace("_", " "), _shown(value))
    console().print(made)
    for title, frame in (("days", report.days), ("symbols", report.symbols), ("fills", report.fills)):
        if frame.height:
            echo(f"\n{title}")
            print_frame(frame)
    for note in report.document["notes"]:
        echo(note)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    whole, dot, part = str(value).partition(".")
    return f"{whole}{dot}{part[:2]}"
