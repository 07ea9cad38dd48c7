"""Loads the strategy of a Python file."""

from __future__ import annotations

import hashlib
import types
from pathlib import Path
from typing import NamedTuple

from analytics.backtest.guard import Guard
from analytics.backtest.strategy import Strategy
from analytics.backtest.targets import Planned
from tapehouse.errors import SourceError, UsageError


class Loaded(NamedTuple):
    """A strategy and the code that it is of."""

    strategy: Strategy
    name: str
    file: str
    """As it was named; empty for a strategy of a session."""
    code: str
    """SHA-256 of the code; empty where that is not known."""


def load(path: Path, name: str | None = None) -> Loaded:
    """Run a file and take its one strategy, or the one called `name`: a class, or an object of `Targets` or `Compiled`.

    Raises UsageError where there is none or more than one, SourceError for a file that cannot be read or run, with
    the line.
    """
    try:
        text = path.read_bytes()
        code = compile(text, str(path), "exec")
    except (OSError, SyntaxError, ValueError) as reason:
        raise SourceError(f"{path}: {reason}") from None
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    with Guard({str(path)}) as guard:
        exec(code, module.__dict__)  # noqa: S102 - the user's own strategy
    if guard.fault is not None:
        raise SourceError(f"{path}: line {guard.fault.line}: {guard.fault.error}")
    found = {known: one for known, one in vars(module).items() if _is_strategy(one, module.__name__)}
    chosen = name or (next(iter(found)) if len(found) == 1 else "")
    if chosen not in found:
        wanted = f"a strategy called {name}" if name else "one strategy"
        has = f"It has {' '.join(found)}: choose by --strategy." if found else "Derive a class from Strategy."
        raise UsageError(f"{path}: expected {wanted}", remedy=has)
    one = found[chosen]
    with guard:
        strategy = one() if isinstance(one, type) else one
    if guard.fault is not None:
        raise SourceError(f"{path}: line {guard.fault.line}: {guard.fault.error}")
    return Loaded(strategy, chosen, str(path), hashlib.sha256(text).hexdigest())


def _is_strategy(one: object, module: str) -> bool:
    if isinstance(one, type):
        return issubclass(one, Strategy) and one.__module__ == module
    return isinstance(one, Planned)
