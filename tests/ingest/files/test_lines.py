import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import lines as line_reader
from ingest.files.lines import LineBlock, LineReader, open_stream
from tapehouse.errors import SourceError

TEXT = b"".join(b"line %d\n" % number for number in range(5000))


def every(path: Path, packed: bool, offset: int = 0, line: int = 1) -> list[LineBlock]:
    with open_stream(path, packed) as stream:
        stream.skip(offset)
        return list(LineReader(stream, offset, line))


def texts(blocks: list[LineBlock]) -> list[bytes]:
    return [lines.line(lines.first_line + index) for lines in blocks for index in range(len(lines.starts))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"").rstrip(b"\r")), max_size=20),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.sampled_from([4, 20, 50, 1000]),
    st.integers(1, 5),
)
def test_lines_are_the_same_wherever_blocks_are_cut(
    tmp_path: Path, found: list[bytes], end: bytes, packed: bool, block: int, most: int
) -> None:
    content = end.join(found)
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "BLOCK_BYTES", block)
        patch.setattr(line_reader, "BLOCK_LINES", most)
        patch.setattr(line_reader, "OVERLONG_KEPT_BYTES", block)
        blocks = every(path, packed)
        expected = found[:-1] if found and not found[-1] else found
        assert len(texts(blocks)) == len(expected)
        for text, one in zip(texts(blocks), expected, strict=True):
            # Of a line beyond the limit the beginning is kept, as it is.
            assert text == one or (len(one) >= block - 2 and (one + end).startswith(text))
        for cut, lines in enumerate(blocks, 1):
            rest = every(path, packed, lines.next_offset, lines.first_line + len(lines.starts))
            assert [one.data for one in rest] == [one.data for one in blocks[cut:]]
            assert [one.next_offset for one in rest] == [one.next_offset for one in blocks[cut:]]


def test_gzip_members_behind_each_other_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(TEXT[:10_001]) + gzip.compress(TEXT[10_001:]) + bytes(1000))
    assert b"\n".join(texts(every(path, True))) + b"\n" == TEXT


def test_a_cut_gzip_gives_its_whole_lines_before_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    packed = gzip.compress(TEXT)
    path.write_bytes(packed[: len(packed) // 2])
    with open_stream(path, True) as stream:
        blocks = iter(LineReader(stream, 0, 1))
        found = texts([next(blocks)])
        with pytest.raises(SourceError, match=r"text.gz: the gzip file is cut.*\(after line \d+\)") as caught:
            next(blocks)
    assert 1000 < len(found) == caught.value.fields["line"]
    assert TEXT.startswith(b"\n".join(found) + b"\n")


def test_damage_and_what_is_no_gzip_behind_it_are_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-5] ^= 1
    for name, content in (("damaged", bytes(packed)), ("followed", gzip.compress(TEXT) + b"rest")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SourceError, match="is damaged") as caught:
            every(path, True)
        assert caught.value.fields["line"] == 5000


def test_progress_ends_at_one(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for packed in (False, True):
        path.write_bytes(gzip.compress(TEXT) if packed else TEXT)
        with open_stream(path, packed) as stream:
            assert stream.fraction == 0
            for _ in LineReader(stream, 0, 1):
                pass
            assert stream.fraction == 1
