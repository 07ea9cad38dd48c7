"""JSON arrays as lines, whose numbers stay as they are written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import json_arrays
from ingest.files.json_arrays import unpack_array
from ingest.files.lines import open_stream
from ingest.files.reader import open_tick_file
from tapehouse.errors import SourceError
from tapehouse.model import TRADES

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def unpacked(path: Path, text: str) -> list[str]:
    path.write_text(text)
    lines = io.BytesIO()
    with open_stream(path, gzipped=False) as stream:
        unpack_array(stream, lines)
    return lines.getvalue().decode().split("\n")[:-1]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(_VALUES, max_size=6),
    indent=st.sampled_from((None, 2)),
    part=st.integers(4, 64),
    ascii_=st.booleans(),
)
def test_every_element_is_a_line_wherever_the_file_is_cut(
    values: list[Any], indent: int | None, part: int, ascii_: bool, tmp_path: Path
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_).encode("utf-8", "replace").decode()
    with pytest.MonkeyPatch.context() as small:
        small.setattr(json_arrays, "_READ_BYTES", part)
        found = unpacked(tmp_path / "array.json", text)
    assert [json.loads(line) for line in found] == json.loads(text)


def test_numbers_are_not_rounded(tmp_path: Path) -> None:
    assert unpacked(tmp_path / "a.json", '[9007199254740993, 1704067200.123456789,\n {"a":1e2}]') == [
        "9007199254740993",
        "1704067200.123456789",
        '{"a":1e2}',
    ]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a"', '[{"a": 1}', "[1, nonsense]"])
def test_an_array_that_ends_early_gives_what_is_before(text: str, tmp_path: Path) -> None:
    path, lines = tmp_path / "cut.json", io.BytesIO()
    path.write_text(text)
    with (
        open_stream(path, gzipped=False) as stream,
        pytest.raises(SourceError, match="expected a JSON array"),
    ):
        unpack_array(stream, lines)
    assert lines.getvalue().count(b"\n") == 1


@pytest.mark.parametrize("between", ["", "\n", " \r\n\n"])
def test_arrays_one_after_the_other_are_all_read(between: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(json_arrays, "_READ_BYTES", 4)
        assert unpacked(tmp_path / "pages.json", between.join(["[1,22]", "[]", "[333]\n"])) == [
            "1",
            "22",
            "333",
        ]


def test_what_follows_an_array_and_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected nothing after a JSON array"):
        unpacked(tmp_path / "more.json", '[1]\n{"a": 2}')


def test_an_array_of_no_objects_is_refused_by_the_files_own_name(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    path.write_text("[[1, 2], [3, 4]]")
    with pytest.raises(SourceError, match=r"^lists\.json: expected JSON objects"):
        open_tick_file(path, TRADES, "v", "S")


def test_an_array_of_trades_is_a_file_of_trades(tmp_path: Path) -> None:
    path = tmp_path / "trades.json"
    path.write_text(
        '\n[{"ts": 1704067200123456789, "id": 9007199254740993, "price": 1.5, "size": 2},\n'
        ' {"ts": 1704067200123456790, "id": 9007199254740994, "price": 2.5, "size": 1, "side": "buy"}]'
    )
    with open_tick_file(path, TRADES, "v", "S") as source:
        (chunk,) = source.chunks()
        (batch,) = chunk.batches
    assert batch.array("ts_event").tolist() == [1704067200123456789, 1704067200123456790]
    assert batch.array("seq").tolist() == [9007199254740993, 9007199254740994]
    assert batch.array("side").tolist() == [0, 1]
