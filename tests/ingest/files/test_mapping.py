import pytest

from ingest.files.mapping import map_columns
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES, Kind


def found(
    names: str, kind: Kind = TRADES, symbol: str | None = "SPY", **mapping: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    result = map_columns(kind, "utp", tuple(names.split(",")), symbol, mapping)
    return {column.name: source for column, source in result.columns}, result.notes


@pytest.mark.parametrize(
    "names", ["ts,px,qty", "Timestamp,Price,Volume", "trade_time,p,amount", "DateTime,tradePrice,Trade Size"]
)
def test_usual_names_are_known_in_any_case(names: str) -> None:
    time, price, size = names.split(",")
    columns, _ = found(names)
    assert columns == {"ts_event": time, "price": price, "size": size}


def test_names_other_than_the_models_own_are_said() -> None:
    _, notes = found("ts,px,size,Side")
    assert notes == ("ts_event: read from column ts", "price: read from column px")


def test_the_models_own_name_goes_before_all_others() -> None:
    columns, notes = found("ts_event,time,price,size,volume")
    assert columns == {"ts_event": "ts_event", "price": "price", "size": "size"}
    assert notes == ("columns ignored: time, volume",)


def test_two_candidates_are_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="ts_event: expected one column, was time and timestamp") as caught:
        found("time,timestamp,price,size")
    assert caught.value.remedy == "Say which: --map ts=time or --map ts=timestamp"
    columns, notes = found("time,timestamp,price,size", ts="time")
    assert columns["ts_event"] == "time"
    assert notes == ("columns ignored: timestamp",)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="was price and price"):
        found("ts,price,price,size")
    with pytest.raises(UsageError, match="more than once"):
        found("ts,x,x,size", price="x")


def test_a_mapped_column_is_free_for_no_other() -> None:
    columns, _ = found("time,timestamp,price,size", ts_recv="time")
    assert (columns["ts_event"], columns["ts_recv"]) == ("timestamp", "time")


def test_a_mapped_column_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'px' is not there, the columns are: ts, price, size"):
        found("ts,price,size", price="px")


def test_a_required_column_that_is_missing_is_named_with_the_way_out() -> None:
    with pytest.raises(
        UsageError, match=r"size: expected a column named .* the columns are: ts, price"
    ) as caught:
        found("ts,price")
    assert caught.value.remedy == "Say which it is: --map size=COLUMN"


def test_an_unknown_model_column_lists_the_known() -> None:
    with pytest.raises(UsageError, match="ts_event ts_recv symbol seq price"):
        found("ts,price,size", prize="price")


@pytest.mark.parametrize("alias", ["seq", "id"])
def test_seq_has_aliases(alias: str) -> None:
    columns, _ = found("ts,price,size,number", **{alias: "number"})
    assert columns["seq"] == "number"
    with pytest.raises(UsageError, match="mapped twice"):
        found("ts,price,size,number", **{alias: "number", "seq" if alias == "id" else "id": "size"})


@pytest.mark.parametrize("name", ["seq", "trade_id", "id", "agg_trade_id", "tradeId"])
def test_ids_are_known_by_name(name: str) -> None:
    columns, _ = found(f"ts,price,size,{name}")
    assert columns["seq"] == name


def test_the_symbol_is_given_or_a_column() -> None:
    columns, _ = found("ts,price,size,ticker", symbol=None)
    assert columns["symbol"] == "ticker"
    columns, notes = found("ts,price,size,symbol")
    assert "symbol" not in columns
    assert "column symbol ignored: symbol is SPY" in notes
    with pytest.raises(UsageError, match="symbol") as caught:
        found("ts,price,size", symbol=None)
    assert "--symbol" in caught.value.remedy
    with pytest.raises(UsageError, match="was both"):
        map_columns(TRADES, "utp", ("ts", "price", "size", "ticker"), "SPY", {"symbol": "ticker"})


def test_a_column_of_venues_goes_to_exchange_only_when_told() -> None:
    columns, notes = found("ts,price,size,venue")
    assert "exchange" not in columns
    assert "column venue ignored: venue is utp" in notes
    columns, notes = found("ts,price,size,venue", exchange="venue")
    assert columns["exchange"] == "venue"
    assert notes == ("ts_event: read from column ts",)
    with pytest.raises(UsageError, match="--venue"):
        found("ts,price,size,venue", venue="venue")


def test_flags_of_other_names_are_ignored_unless_mapped() -> None:
    columns, notes = found("ts,price,size,cancelled,suspicious")
    assert "flags" not in columns
    assert "columns ignored: cancelled, suspicious" in notes
    columns, _ = found("ts,price,size,cancelled", flags="cancelled")
    assert columns["flags"] == "cancelled"


def test_quotes_need_one_side_at_least() -> None:
    columns, _ = found("ts,bidPrice,bid_qty,ask,ask size", QUOTES)
    assert list(columns) == ["ts_event", "bid", "bid_size", "ask", "ask_size"]
    columns, _ = found("ts,best_bid", QUOTES)
    assert columns["bid"] == "best_bid"
    with pytest.raises(UsageError, match="at least one of them"):
        found("ts,price,size", QUOTES)


def test_the_documented_names_of_account_trades_are_known() -> None:
    names = "ID,Totaldone,Trx Amount,Amount,Transtype,Accountid,Transtime"
    columns, _ = found(names, ACCOUNT_TRADES, None)
    assert columns == {
        "ts_event": "Transtime",
        "account_id": "Accountid",
        "id": "ID",
        "total_done": "Totaldone",
        "trx_amount": "Trx Amount",
        "amount": "Amount",
        "trans_type": "Transtype",
    }


def test_depth_needs_its_four_lists() -> None:
    with pytest.raises(UsageError, match="ask_sizes"):
        found("ts,bid_prices,bid_sizes,ask_prices", DEPTH)


def test_a_column_can_be_left_out() -> None:
    columns, notes = found("ts,id,price,size,side", id="-", side="-")
    assert columns == {"ts_event": "ts", "price": "price", "size": "size"}
    assert "columns ignored: id, side" in notes
    with pytest.raises(UsageError, match="price: expected a column"):
        found("ts,price,size", price="-")


def test_flags_are_taken_only_where_they_are_mapped() -> None:
    columns, notes = found("ts,price,size,flags")
    assert "flags" not in columns
    assert any(note.startswith("column flags ignored") and "--map flags=flags" in note for note in notes)
    assert found("ts,price,size,flags", flags="flags")[0]["flags"] == "flags"


@pytest.mark.parametrize("name", ["is_buyer_maker", "isBuyerMaker", "buyer_maker"])
def test_a_side_by_who_was_the_maker_is_known(name: str) -> None:
    result = map_columns(TRADES, "v", ("ts", "price", "size", name), "S", {})
    assert result.buyer_maker
    assert any("true is -1" in note for note in result.notes)
    explicit = map_columns(TRADES, "v", ("ts", "price", "size", "m"), "S", {"buyer_maker": "m"})
    assert explicit.buyer_maker
    assert explicit.has("side")
    assert not map_columns(TRADES, "v", ("ts", "price", "size", "side"), "S", {}).buyer_maker


def test_rows_are_numbered_by_time_where_the_user_says_so() -> None:
    result = map_columns(TRADES, "v", ("ts", "id", "price", "size"), "S", {}, number_by="time")
    assert not result.has("seq")


@pytest.mark.parametrize(
    ("header", "mapping", "seq", "trade_id"),
    [
        ("ts,price,size,trade_id", {}, "trade_id", None),
        ("ts,price,size,seq,trade_id", {"seq": "seq"}, "seq", "trade_id"),
        ("ts,price,size,id,uuid", {}, "id", "uuid"),
        ("ts,price,size,id", {"id": "-"}, None, None),
        ("ts,price,size,id", {"id": "-", "trade_id": "id"}, None, "id"),
    ],
)
def test_ids_number_the_rows_and_other_names_of_trades_are_kept(
    header: str, mapping: dict[str, str], seq: str | None, trade_id: str | None
) -> None:
    columns, _ = found(header, **mapping)
    assert (columns.get("seq"), columns.get("trade_id")) == (seq, trade_id)


@pytest.mark.parametrize("names", ["ts price size id", "ts price size seq trade_id id", "ts price size n"])
def test_ids_that_do_not_number_the_rows_are_kept_as_trade_id(names: str) -> None:
    mapping = {"seq": "n"} if names.endswith("n") else {}
    mapped = map_columns(TRADES, "v", tuple(names.split()), "s", mapping, number_by="time")
    columns = {column.name: source for column, source in mapped.columns}
    ids = "trade_id" if "trade_id" in names else names.split()[-1]
    assert "seq" not in columns
    assert columns["trade_id"] == ids
    assert f"trade_id: read from column {ids}" in mapped.notes
