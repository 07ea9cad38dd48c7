-- Purpose:   order book updates and snapshots; a level of size 0 is taken out of the book.
-- Grain:     one row an update, its levels as arrays, prices and sizes side by side.
-- Key:       (ts_event, venue, symbol, seq, snapshot): a snapshot may share its seq with an update.
-- Retention: as trades.
CREATE TABLE IF NOT EXISTS depth (
    ts_event     TIMESTAMP_NS,
    ts_recv      TIMESTAMP_NS,
    venue        SYMBOL,
    symbol       SYMBOL,
    seq          LONG,
    snapshot     BOOLEAN,
    seq_first    LONG,
    seq_previous LONG,
    bid_prices   DOUBLE[],
    bid_sizes    DOUBLE[],
    ask_prices   DOUBLE[],
    ask_sizes    DOUBLE[],
    flags        SHORT
) TIMESTAMP(ts_event) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts_event, venue, symbol, seq, snapshot);
