from contextlib import suppress
from csv import reader
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.feeds import lines as line_reader
from ingest.feeds.files import open_source
from tapehouse.errors import SourceError, TapehouseError, UsageError
from tapehouse.model import TRADES

from .conftest import Outcome, Reading, outcome_of

T0 = 1_723_161_256_000_000_000
SECONDS = 1_723_161_256


def csv(*lines: str, header: str = "ts,price,size,conditions") -> str:
    return "\n".join((header, *lines)) + "\n"


def row(number: int = 0) -> str:
    return f"{SECONDS + number},{number}.5,1,"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_delimiter_and_line_end(read: Reading, delimiter: str, end: str) -> None:
    text = csv(row(1), row(2)).replace(",", delimiter).replace("\n", end)
    for content in (text, text.removesuffix(end), "\ufeff" + text, end + text):
        outcome = read(content)
        assert outcome.column("price") == [1.5, 2.5]
        assert not outcome.reasons


def test_blank_lines_are_neither_rows_nor_rejected_but_are_counted(read: Reading) -> None:
    outcome = read(csv(row(1), "", "   ", "broken", row(2)))
    assert outcome.column("price") == [1.5, 2.5]
    assert outcome.reasons == {5: "line: expected 4 fields, was 1"}
    assert outcome.rows_read == 3


def test_quoted_fields_hold_delimiters_and_quotes(read: Reading) -> None:
    outcome = read(
        csv(
            f'"{SECONDS}","1.5","1","@"',
            f'{SECONDS},2.5,1,"a,b"',
            f'{SECONDS},"3.5",1,"say ""so"""',
            f'{SECONDS},4.5,1,""',
            row(5),
            f'{SECONDS},6.5,1,5" steel',
            f'{SECONDS},"7,5",1,x',
        )
    )
    assert outcome.column("price") == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert outcome.column("conditions") == ["@", "a,b", 'say "so"', None, None, '5" steel']
    assert outcome.reasons == {8: "price: expected a number, was '7,5'"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1723161256,1.5", "line: expected 4 fields, was 2"),
        (b"1723161256,1.5,1,x,y", "line: expected 4 fields, was 5"),
        (b"1723161256,1.5,1,\xff", r"line: expected UTF-8, was b'\xff' at 17"),
        (b"1723161256,1.5,1,a\0b", "line: expected text, was a NUL byte in it"),
        (b'1723161256,1.5,1,"open', "line: unreadable quotes or line ends: unexpected end of data"),
        (b"abc,1.5,1,x", "ts_event: expected a time, was 'abc'"),
        (b",1.5,1,x", "ts_event: expected a time, was nothing"),
        (b"1723161256,,1,x", "price: expected a number, was nothing"),
        (b"1723161256,inf,1,x", "price: expected a number, was 'inf'"),
        (b"1723161256,nan,1,x", "price: expected a number, was 'nan'"),
        (b"1723161256,1e400,1,x", "price: expected a number, was '1e400'"),
        (b"1723161256,1_000,1,x", "price: expected a number, was '1_000'"),
        (b"1723161256,0x10,1,x", "price: expected a number, was '0x10'"),
        (b"1723161256,1.5,-1,x", "size: expected 0 to 1e+15, was -1.0"),
    ],
)
def test_a_bad_line_is_rejected_as_it_is_and_its_neighbours_stay(
    read: Reading, line: bytes, reason: str
) -> None:
    outcome = read(csv(row(1)).encode() + line + b"\r\n" + row(2).encode())
    assert outcome.column("price") == [1.5, 2.5]
    assert outcome.reasons == {3: reason}
    assert outcome.originals == {3: line}


def test_columns_that_are_swapped_reject_every_row_with_the_reason(read: Reading) -> None:
    outcome = read(csv(*[f"{number}.5,{SECONDS},1," for number in range(100)]))
    assert not outcome.rows
    assert len(outcome.reasons) == 100
    assert outcome.reasons[2].startswith("ts_event: expected a time (--time-unit gives the unit of numbers)")


def test_a_file_without_a_header_is_told_so(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"names the columns, was '1723161257,1.5,1,'") as caught:
        read(row(1))
    assert "first line" in caught.value.remedy


def test_a_header_alone_is_a_file_of_no_rows(read: Reading) -> None:
    assert read(csv()).rows == []


def test_an_unnamed_index_column_is_ignored_and_said(read: Reading) -> None:
    outcome = read(csv(f"0,{row(1)}", header=",ts,price,size,conditions"))
    assert outcome.column("price") == [1.5]
    assert "columns ignored: (one without a name)" in outcome.notes


def test_text_that_is_not_ascii_comes_through(read: Reading) -> None:
    outcome = read(csv(f"{SECONDS},1.5,1,€ü"))
    assert outcome.column("conditions") == ["€ü"]


def test_a_line_beyond_the_limit_is_rejected_and_reading_goes_on(
    read: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "BLOCK", 256)
    monkeypatch.setattr(line_reader, "KEPT", 16)
    outcome = read(csv(row(1), "x" * 1000, row(2)))
    assert outcome.column("price") == [1.5, 2.5]
    assert outcome.reasons[3].endswith("was 1001")
    assert outcome.originals[3] == b"x" * 16


def test_binary_is_no_csv(read: Reading) -> None:
    with pytest.raises(SourceError, match="binary"):
        read(b"\x93\xff\x00\x01,\n1,2\n")


def numbered(outcome: tuple[list[dict[str, Any]], dict[int, str], dict[int, bytes]]) -> Any:
    rows, reasons, originals = outcome
    return [(one["ts_event"], one["price"], one["conditions"]) for one in rows], reasons, originals


field = st.one_of(
    st.sampled_from(
        ["", "1", "1.5", str(SECONDS), '"1"', '"a,b"', "nan", "\xff", '"', '""', "\0", " ", "\r"]
    ),
    st.text(max_size=6),
)
line = st.one_of(
    st.just(row(1)),
    st.lists(field, min_size=3, max_size=5).map(",".join),
    st.text(max_size=30),
    st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(line, max_size=12), st.sampled_from(["latin-1", "utf-8"]), st.sampled_from([64, 200, 4 << 20])
)
def test_every_line_is_a_row_or_rejected_or_blank_wherever_blocks_are_cut(
    tmp_path: Path, lines: list[str], encoding: str, block: int
) -> None:
    content = (csv(row(0)) + "\n".join(lines)).encode(encoding, errors="replace")
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "BLOCK", block)
        patch.setattr(line_reader, "LINES", 3)
        with open_source(path, TRADES, "utp", "SPY") as source:
            pieces = list(source.pieces())
            rows, reasons, originals = outcome_of(pieces)
            filled = [one for one in content.split(b"\n")[1:] if one.strip(b" \r") or b"\r" in one[:-1]]
            assert len(rows) + len(reasons) == pieces[-1].rows_read == len(filled)
            everything = content.split(b"\n")
            for place, original in originals.items():
                assert everything[place - 1].startswith(original)
            taken = [
                text
                for place, text in enumerate(everything, 1)
                if place > 1 and place not in reasons and text.strip(b" \r")
            ]
            for one, text in zip(rows, taken, strict=True):
                time, price, _, conditions = next(reader([text.removesuffix(b"\r").decode()], strict=True))
                assert one["ts_event"] == int(float(time)) * 10**9
                assert (one["price"], one["conditions"]) == (float(price), conditions or None)
            for cut, piece in enumerate(pieces, 1):
                rest = list(source.pieces(piece.position))
                assert [one.position for one in rest] == [one.position for one in pieces[cut:]]
                assert numbered(outcome_of(rest)) == numbered(outcome_of(pieces[cut:]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_random_bytes_end_in_rows_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(content)
    with suppress(TapehouseError), open_source(path, TRADES, "utp", "SPY") as source:
        list(source.pieces())


def test_a_row_that_was_good_alone_is_the_same_among_bad_ones(read: Reading) -> None:
    good = [row(number) for number in range(50)]
    alone: Outcome = read(csv(*good))
    mixed = read(csv(*[text for one in good for text in (one, "bad", f'{one}"')]))
    assert mixed.rows == alone.rows
    assert len(mixed.reasons) == 100
