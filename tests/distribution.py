"""How the tests are shared out between processes: those that share a platform run in one."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_MIRRORED = ("test_cold_import", "test_mirror", "test_retention")
_UP = (
    "test_account_trades",
    "test_backtest",
    "test_bad_input",
    "test_file_cases",
    "test_file_order",
    "test_history",
    "test_query",
    "test_real_data",
)


class SharedPlatforms(LoadScopeScheduling):
    """Gives a process all files of one platform, or one file that needs none."""

    def _split_scope(self, nodeid: str) -> str:
        return platform_of(nodeid.partition("::")[0])


def platform_of(file: str) -> str:
    """`up`, `mirrored` or `browsed` for files of tests/system that share that platform, else the file."""
    folder, _, name = file.rpartition("/")
    if folder == "tests/system" and name.startswith(_MIRRORED):
        return "mirrored"
    if folder == "tests/system" and name.startswith(_UP):
        return "up"
    if folder == "tests/system/page":
        return "browsed"
    return file
