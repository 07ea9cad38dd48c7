-- Purpose:   best bid and ask of closed days, copied whole from the hot store or merged in.
-- Grain:     one row a change of the best prices.
-- Key:       (ts_event, venue, symbol, seq), held by who replaces a day.
-- Retention: cold years, by dropping days.
CREATE TABLE IF NOT EXISTS quotes
(
    ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    venue LowCardinality(String) CODEC(ZSTD(1)),
    symbol LowCardinality(String) CODEC(ZSTD(1)),
    seq Int64 CODEC(Delta, ZSTD(1)),
    bid Nullable(Float64) CODEC(ZSTD(1)),
    bid_size Nullable(Float64) CODEC(ZSTD(1)),
    ask Nullable(Float64) CODEC(ZSTD(1)),
    ask_size Nullable(Float64) CODEC(ZSTD(1)),
    flags Int16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_event)
ORDER BY (venue, symbol, ts_event, seq)
