-- Purpose:   best bid and ask; an empty side of the book has neither price nor size.
-- Grain:     one row a change of either side.
-- Key:       (ts_event, venue, symbol, seq), the last write wins.
-- Retention: as trades.
CREATE TABLE IF NOT EXISTS quotes (
    ts_event TIMESTAMP_NS,
    ts_recv  TIMESTAMP_NS,
    venue    SYMBOL,
    symbol   SYMBOL,
    seq      LONG,
    bid      DOUBLE,
    bid_size DOUBLE,
    ask      DOUBLE,
    ask_size DOUBLE,
    flags    SHORT
) TIMESTAMP(ts_event) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts_event, venue, symbol, seq);
