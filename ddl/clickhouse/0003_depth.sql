-- Purpose:   book updates and snapshots of closed days, copied whole from the hot store or merged in.
-- Grain:     one row an update, its levels as arrays, best first.
-- Key:       (ts_event, venue, symbol, seq, snapshot), held by who replaces a day.
-- Retention: cold years, by dropping days.
CREATE TABLE IF NOT EXISTS depth
(
    ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    venue LowCardinality(String) CODEC(ZSTD(1)),
    symbol LowCardinality(String) CODEC(ZSTD(1)),
    seq Int64 CODEC(Delta, ZSTD(1)),
    snapshot Bool CODEC(ZSTD(1)),
    seq_first Nullable(Int64) CODEC(Delta, ZSTD(1)),
    seq_previous Nullable(Int64) CODEC(Delta, ZSTD(1)),
    bid_prices Array(Float64) CODEC(ZSTD(3)),
    bid_sizes Array(Float64) CODEC(ZSTD(3)),
    ask_prices Array(Float64) CODEC(ZSTD(3)),
    ask_sizes Array(Float64) CODEC(ZSTD(3)),
    flags Int16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_event)
ORDER BY (venue, symbol, ts_event, seq, snapshot)
