"""The quarantine on the system page: rows of a file that nobody can use, among them one that is markup."""

from __future__ import annotations

from pathlib import Path

from tapehouse.clock import iso, now_ns
from tapehouse.stream.quarantine_pages import expectation
from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER

_MARKUP = "<img src=x onerror=alert(1)>"


def test_the_system_page_counts_rejected_rows_by_reason(browsed: Browsed, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    # Days before these may be the cold store's in other tests of this platform.
    today = iso(now_ns())
    good = f"{today},A,1,1,1"
    bad = [f"{today},A,{price},1,{n}" for n, price in enumerate(["x", "y", _MARKUP], 2)]
    file.write_text("\n".join(["ts,symbol,price,size,trade_id", good, *bad]) + "\n")
    assert "3 quarantined" in browsed.up.run("ingest", str(file), "--venue", "rejects")
    entries = [line.split("\t") for line in browsed.up.run("quarantine", "list").splitlines()]
    (reason,) = {expectation(fields[5]) for fields in entries if fields[3] == "rejects"}
    browsed.see("quarantine", tmp_path, REASON=reason, ROWS="3", MARKUP=_MARKUP)
