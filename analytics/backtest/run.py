"""Runs a request, and again from what an earlier run wrote down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analytics.backtest import causality
from analytics.backtest.engine import Engine, Outcome, Setup
from analytics.backtest.loading import Loaded, load
from analytics.backtest.report import Report, figures, listed, notes
from analytics.backtest.request import Request
from analytics.backtest.source import Source, StoredRows, digest
from analytics.backtest.strategy import Strategy, overrides, parameters, set_parameters
from analytics.backtest.tape import Tape
from analytics.backtest.targets import Planned
from tapehouse import __version__
from tapehouse.client.database import Database
from tapehouse.errors import ProofError, SourceError, UsageError

FORMAT = 1
"""Of the JSON; one that is read in another way has another number."""


class LookAheadError(ProofError):
    """A strategy decides otherwise when later rows are missing."""


def stored(db: Database, request: Request) -> Source:
    """The rows that a request reads, from the stores."""
    return StoredRows(db, request.series, request.interval, request.start, request.end)


def run(
    request: Request,
    source: Source,
    fresh: Callable[[], Loaded],
    *,
    check_causality: bool = False,
) -> Report:
    """Run a request. `fresh` gives the strategy, a new one each time.

    Raises UsageError for a request that cannot be run, LookAheadError where causality is checked and does not hold.
    A fault of the strategy ends the run and is in the report.
    """
    setup = request.setup()
    tape = Tape(source, request.series, request.interval_of_bars(), request.clock, request.grace)

    def loaded() -> Loaded:
        one = fresh()
        set_parameters(one.strategy, request.parameters)
        return one

    first = loaded()
    files = _files(first)
    outcome = Engine(tape, first.strategy, setup, files).run()
    checked: dict[str, Any] | None = None
    if check_causality and outcome.fault is None:
        found = causality.check(outcome, tape, lambda: loaded().strategy, setup, files)
        if found.moved:
            raise LookAheadError(
                f"{first.name} looks ahead, or does not decide the same twice: {found.moved}",
                remedy="It may use only rows that are known at its moment, and random numbers of a fixed seed.",
            )
        checked = {"moments": found.moments}
    return Report(outcome, setup, _document(request, first, outcome, setup, checked))


def _document(
    request: Request, loaded: Loaded, outcome: Outcome, setup: Setup, checked: dict[str, Any] | None
) -> dict[str, Any]:
    reads_ticks = request.fills == "latency" or any(
        overrides(loaded.strategy, method) for method in ("on_trade", "on_quote")
    )
    report = Report(outcome, setup, {})
    fault = outcome.fault
    document = {
        "format": FORMAT,
        "tapehouse": __version__,
        "strategy": {
            "name": loaded.name,
            "file": loaded.file,
            "sha256": loaded.code,
            "parameters": parameters(loaded.strategy),
        },
        "request": request.document(),
        "data": outcome.digests,
        "causality": checked,
        "fault": None if fault is None else {**vars(fault), "file": Path(fault.file).name},
        "notes": notes(outcome, setup, request.clock, reads_ticks),
        "figures": figures(outcome, setup),
        "equity_sha256": digest(report.equity),
        "days": json.loads(report.days.write_json()),
        "symbols": json.loads(report.symbols.write_json()),
        "fills": listed(outcome, setup),
    }
    # As it will be read: lists for tuples.
    return dict(json.loads(json.dumps(document)))


def text(report: Report) -> str:
    """The JSON of a run, the same bytes for the same run."""
    return json.dumps(report.document, indent=1) + "\n"


def again(path: Path, source: Callable[[Request], Source]) -> Report:
    """Repeat the run of a JSON file. `source` gives the rows of its request.

    Raises SourceError for a file that is none of these, ProofError where the strategy's code, the rows or the result
    are others now.
    """
    try:
        before = json.loads(path.read_text())
        kept, request = before["strategy"], Request.from_document(before["request"])
        causal, form = before["causality"] is not None, before["format"]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise SourceError(
            f"{path}: expected the JSON of a backtest, {type(reason).__name__}: {reason}"
        ) from None
    if form != FORMAT:
        raise SourceError(f"{path}: expected format {FORMAT}, was {form}")
    if not kept["file"]:
        raise UsageError(
            f"{path}: its strategy came from a notebook", remedy="Run it there, with its request."
        )

    def fresh() -> Loaded:
        loaded = load(Path(kept["file"]), kept["name"])
        if loaded.code != kept["sha256"]:
            raise ProofError(f"{path}: the code of {kept['file']} is not that of the run")
        return loaded

    report = run(request, source(request), fresh, check_causality=causal)
    for name, was, now in (
        ("data", before["data"], report.document["data"]),
        ("version of Tapehouse", before["tapehouse"], report.document["tapehouse"]),
        ("result", before, report.document),
    ):
        if was != now:
            raise ProofError(f"{path}: the {name} is not that of the run{_where(was, now)}")
    return report


def _where(was: object, now: object) -> str:
    if isinstance(was, list) and isinstance(now, list):
        changed = [row for row in now if row not in was] or [row for row in was if row not in now]
        return f": {changed[0]['kind']} of {changed[0]['day']}" if changed else ""
    if isinstance(was, dict) and isinstance(now, dict):
        return f": {' '.join(name for name in was if was[name] != now.get(name))}"
    return f": {was}, now {now}"


def _files(loaded: Loaded) -> set[str]:
    """The files with the strategy's code, as its functions name them."""
    made = {
        value.__code__.co_filename
        for kind in type(loaded.strategy).__mro__
        if kind is not Strategy
        for value in vars(kind).values()
        if hasattr(value, "__code__")
    }
    if isinstance(loaded.strategy, Planned):
        function = getattr(loaded.strategy.code, "py_func", loaded.strategy.code)
        made |= {function.__code__.co_filename} if hasattr(function, "__code__") else set()
    return made | ({loaded.file} if loaded.file else set())
