import polars as pl
import pyarrow as pa

from ingest.files.arrow import column_values, encode_strings, row_as_json
from ingest.files.times import TimeFormat, convert_times
from tapehouse.batch import Strings
from tapehouse.model import TRADES

SECONDS = 1_723_161_256


def test_seconds_that_would_wrap_round_are_no_times() -> None:
    array = pa.array([2**62, -(2**62), SECONDS, None], pa.timestamp("s", "UTC"))
    values = column_values(TRADES.column("ts_event"), array)
    assert isinstance(values, pl.Series)
    ns, ((bad, _),) = convert_times(values, TimeFormat())
    assert bad.tolist() == [True, True, False, True]
    assert ns[2] == SECONDS * 10**9


def test_a_dictionary_larger_than_its_rows_keeps_what_they_use() -> None:
    names = pa.array([f"S{number}" for number in range(100)]).dictionary_encode()
    for rows in (names.slice(98), pa.concat_arrays([names, names])):
        values = column_values(TRADES.column("symbol"), rows)
        assert isinstance(values, Strings)
        assert values.to_list() == rows.to_pylist()
    some = pa.DictionaryArray.from_arrays(pa.array([99, None, 3], pa.int8()), names.dictionary)
    values = column_values(TRADES.column("symbol"), some)
    assert isinstance(values, Strings)
    assert values.to_list() == ["S99", None, "S3"]
    assert len(values.values) == 2


def test_indices_outside_their_dictionary_are_no_names() -> None:
    names = pa.DictionaryArray.from_arrays(pa.array([1, 5, None, -3]), pa.array(["a", "b"]), safe=False)
    values = column_values(TRADES.column("symbol"), names)
    assert isinstance(values, Strings)
    assert values.to_list() == ["b", "\0damaged", None, "\0damaged"]


def test_encoded_text_keeps_its_nulls_wherever_they_are() -> None:
    for texts in (["a", None], [None, "a"], [None, None], ["a", "a"], ["", "a", ""], []):
        found = encode_strings(pl.Series(texts, dtype=pl.String)).to_list()
        assert found == texts


def test_a_row_of_any_types_is_json() -> None:
    columns = {
        "at": pa.array([SECONDS], pa.timestamp("s", "UTC")),
        "naive": pa.array([1], pa.timestamp("ns")),
        "ancient": pa.array([-1], pa.timestamp("us", "UTC")),
        "nan": pa.array([float("nan")]),
        "bytes": pa.array([b"\xff"]),
        "levels": pa.array([[1.5, None]]),
        "nothing": pa.array([None]),
    }
    assert row_as_json(pa.RecordBatch.from_pydict(columns), 0) == (
        b'{"at": "2024-08-08T23:54:16Z", "naive": "1970-01-01T00:00:00.000000001", "ancient": -1, "nan": "nan",'
        rb' "bytes": "\\xff", "levels": [1.5, null], "nothing": null}'
    )


def test_a_column_of_times_of_day_is_text_to_the_ns() -> None:
    times = pa.array([34_200_123_000_001, None], pa.time64("ns"))
    found = column_values(TRADES.column("ts_event"), times)
    assert isinstance(found, pl.Series)
    assert found.to_list() == ["09:30:00.123000001", None]
