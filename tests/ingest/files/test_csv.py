import gzip
import re
import zipfile
from contextlib import suppress
from csv import Error, reader
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import csv_rows
from ingest.files import lines as line_reader
from ingest.files.reader import open_tick_file
from ingest.imports.row_sources import open_row_source
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


def test_quoted_fields_hold_line_breaks_and_blank_lines(read: Reading) -> None:
    for end in ("\n", "\r\n"):
        text = csv(row(1), f'{row(2)}"a{end}{end}say ""so"", b"', row(3), f'{SECONDS},x,1,"a{end}b"', row(5))
        outcome = read(text.replace("\n", end) if end == "\n" else text.replace("\r", "").replace("\n", end))
        assert outcome.column("price") == [1.5, 2.5, 3.5, 5.5]
        assert outcome.column("conditions") == [None, f'a{end}{end}say "so", b', None, None]
        assert outcome.reasons == {7: "price: expected a number, was 'x'"}
        assert outcome.originals[7] == f'{SECONDS},x,1,"a{end}b"'.encode()
        assert outcome.rows_read == 5


def test_a_quote_that_nothing_closes_rejects_its_line_alone(read: Reading) -> None:
    good = [row(number) for number in range(20)]
    for after in (good, [*good, f'{row(9)}"a"'], [*good, f'{row(9)}"', *good]):
        outcome = read(csv(row(1), f'{row(2)}"open', *after))
        assert outcome.reasons.pop(3) == "line: expected a closing quote within 256 characters, was none"
        assert outcome.originals[3] == f'{row(2)}"open'.encode()
        assert len(outcome.rows) + len(outcome.reasons) == len(after) + 1
        assert set(outcome.reasons) <= {24}


@pytest.mark.parametrize("packed", ["plain", "gz", "zst", "zip"])
def test_rows_of_several_lines_are_whole_where_blocks_are_cut_and_where_times_are_read_first(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "BLOCK_BYTES", 100)
    monkeypatch.setattr(csv_rows, "ROW_BYTES", 90)
    times = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0] * 10
    content = csv(
        *[f'{row(number)}"line {place}\nof {number}"' for place, number in enumerate(times)]
    ).encode()
    path = tmp_path / "ticks.csv"
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.csv", content)
    else:
        compress = {"plain": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[packed]
        path.write_bytes(compress(content))
    with open_row_source(path, TRADES, "utp", "SPY", sort_folder=tmp_path) as source:
        rows, reasons, _ = outcome_of(list(source.chunks()))
    assert not reasons
    assert [one["conditions"] for one in rows] == [
        f"line {place}\nof {number}" for number in range(10) for place in range(100) if times[place] == number
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1723161256,1.5", "line: expected 4 fields, was 2"),
        (b"1723161256,1.5,1,x,y", "line: expected 4 fields, was 5"),
        (b"1723161256,1.5,1,\xff", r"line: expected UTF-8, was b'\xff' at 17"),
        (b"1723161256,1.5,1,a\0b", "line: expected text, was a NUL byte in it"),
        (b'1723161256,1.5,1,"open', "line: expected a closing quote within 256 characters, was none"),
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


def test_columns_that_are_swapped_are_refused_with_the_remedy(read: Reading) -> None:
    with pytest.raises(UsageError, match=r"expected times with a date in column ts, was '0\.5'") as caught:
        read(csv(*[f"{number}.5,{SECONDS},1," for number in range(100)]))
    assert "--map ts=COLUMN" in caught.value.remedy


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
    monkeypatch.setattr(line_reader, "BLOCK_BYTES", 256)
    monkeypatch.setattr(line_reader, "OVERLONG_KEPT_BYTES", 16)
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
        ["", "1", "1.5", str(SECONDS), '"1"', '"a,b"', '"a\nb"', "nan", "\xff", '"', '""', "\0", " ", "\r"]
    ),
    st.text(max_size=6),
)
line = st.one_of(
    st.just(row(1)),
    st.text("ab\n\r,", max_size=25).map(lambda text: f'{row(1)}"{text}"'),
    st.sampled_from([f'{row(1)}"open', 'closed"', f'{row(1)}"a ""b""', ""]),
    st.lists(field, min_size=3, max_size=5).map(",".join),
    st.text(max_size=30),
    st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
)


def rows_in(content: bytes, most_lines: int, overlong: int) -> list[tuple[int, bytes, list[str] | None]]:
    """(line, text, fields, None where it is rejected) of each row: the first of so many lines that can be parsed."""
    lines = content.split(b"\n")
    found: list[tuple[int, bytes, list[str] | None]] = []
    place = 1
    while place < len(lines):
        texts = [lines[place] if len(lines[place]) < overlong else b"\0"]
        fields = parsed(texts[0])
        while fields is None and place + len(texts) < len(lines) and len(texts) < most_lines:
            texts.append(lines[place + len(texts)])
            end = place + len(texts) < len(lines)
            if len(b"\n".join(texts)) + end > csv_rows.ROW_BYTES:
                break
            fields = parsed(b"\n".join(texts))
        long = [one for one in fields or () if "\n" in one and len(one) > csv_rows.FIELD_CHARACTERS]
        rows = [one for one in texts[1:] if one.count(b",") == 3 and shape(one) == shape(texts[0])]
        if fields is None or long or (len(texts) > 1 and (rows or len(fields) != 4)):
            texts = texts[:1]
            fields = None
        if fields is None or lines[place].strip(b" \r") or b"\r" in lines[place][:-1]:
            whole = fields if fields is not None and len(fields) == 4 else None
            found.append((place + 1, b"\n".join(lines[place : place + len(texts)]), whole))
        place += len(texts)
    return found


def shape(line: bytes) -> bytes:
    return re.sub(rb"[0-9]+", b"0", line.split(b",")[0])


def parsed(text: bytes) -> list[str] | None:
    try:
        return None if b"\0" in text else next(reader([text.removesuffix(b"\r").decode()], strict=True), [])
    except (UnicodeDecodeError, Error):
        return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(line, max_size=12), st.sampled_from(["latin-1", "utf-8"]), st.sampled_from([64, 200, 4 << 20])
)
def test_every_line_is_of_a_row_or_rejected_or_blank_wherever_blocks_are_cut(
    tmp_path: Path, lines: list[str], encoding: str, block: int
) -> None:
    content = (csv(row(0)) + "\n".join(lines)).encode(encoding, errors="replace")
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "BLOCK_BYTES", block)
        patch.setattr(line_reader, "BLOCK_LINES", 3)
        patch.setattr(csv_rows, "ROW_BYTES", 60)
        patch.setattr(csv_rows, "FIELD_CHARACTERS", 20)
        expected = rows_in(content, 3, block)
        with open_tick_file(path, TRADES, "utp", "SPY") as source:
            chunks = list(source.chunks())
            rows, reasons, originals = outcome_of(chunks)
            assert len(rows) + len(reasons) == chunks[-1].rows_read == len(expected)
            taken = iter(rows)
            for place, text, fields in expected:
                if place in reasons:
                    assert text.startswith(originals[place])
                    continue
                assert fields is not None, place
                time, price, _, conditions = fields
                one = next(taken)
                assert one["ts_event"] == int(float(time)) * 10**9
                assert (one["price"], one["conditions"]) == (float(price), conditions or None)
            for cut, chunk in enumerate(chunks, 1):
                rest = list(source.chunks(chunk.position))
                assert [one.position for one in rest] == [one.position for one in chunks[cut:]]
                assert numbered(outcome_of(rest)) == numbered(outcome_of(chunks[cut:]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_random_bytes_end_in_rows_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(content)
    with suppress(TapehouseError), open_tick_file(path, TRADES, "utp", "SPY") as source:
        list(source.chunks())


def test_a_row_that_was_good_alone_is_the_same_among_bad_ones(read: Reading) -> None:
    good = [row(number) for number in range(50)]
    alone: Outcome = read(csv(*good))
    mixed = read(csv(*[text for one in good for text in (one, "bad", f'{one}"')]))
    assert mixed.rows == alone.rows
    assert len(mixed.reasons) == 100


def test_comments_before_the_header_are_passed_over(read: Reading) -> None:
    text = b"# made by a vendor\n# 2024, all rights\nts,price,size\n2024-01-01T00:00:00Z,1,1\n"
    assert read(text, name="f.csv").column("price") == [1.0]


def test_a_header_in_a_comment_is_the_header(read: Reading) -> None:
    text = b"# made by a vendor\n#ts,price,size\n2024-01-01T00:00:00Z,1,1\n2024-01-01T00:00:01Z,2,1\n"
    assert read(text, name="f.csv").column("price") == [1.0, 2.0]


def test_columns_are_named_by_their_places_where_there_is_no_header(read: Reading) -> None:
    text = b"# no header\n2024-01-01T00:00:00Z,7,1.5\n2024-01-01T00:00:01Z,8,2.5\n"
    outcome = read(text, name="f.csv", mapping={"ts": "#1", "size": "#2", "price": "#3"})
    assert outcome.column("price") == [1.5, 2.5]
    assert outcome.column("size") == [7.0, 8.0]
    with pytest.raises(UsageError, match="expected a header") as caught:
        read(text.replace(b"# no header\n", b""), name="f.csv")
    assert "--map ts=#1" in caught.value.remedy


def test_rows_by_place_begin_after_a_byte_order_mark(read: Reading) -> None:
    text = b"\xef\xbb\xbf2024-01-01T00:00:00Z,7,1.5\n"
    outcome = read(text, name="f.csv", mapping={"ts": "#1", "size": "#2", "price": "#3"})
    assert outcome.column("price") == [1.5]


def test_a_file_of_comments_alone_has_no_rows_by_place(read: Reading) -> None:
    outcome = read(b"# a, b, c\n", name="f.csv", mapping={"ts": "#1", "size": "#2", "price": "#3"})
    assert not outcome.rows
