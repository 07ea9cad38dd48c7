-- Purpose:   what a source had and the hot store has not, of closed days.
-- Grain:     one row a gap, by when it begins.
-- Key:       (ts_event, venue, symbol, seq, kind), held by who replaces a day.
-- Retention: cold years, by dropping days.
CREATE TABLE IF NOT EXISTS gaps
(
    ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    venue LowCardinality(String) CODEC(ZSTD(1)),
    symbol LowCardinality(String) CODEC(ZSTD(1)),
    seq Int64 CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    ts_end DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    seq_last Nullable(Int64) CODEC(ZSTD(1)),
    missing Nullable(Int64) CODEC(ZSTD(1)),
    closed Bool CODEC(ZSTD(1)),
    reason LowCardinality(Nullable(String)) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_event)
ORDER BY (venue, symbol, ts_event, seq, kind)
