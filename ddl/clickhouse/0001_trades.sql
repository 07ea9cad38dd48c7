-- Purpose:   trades of closed days, copied whole from the hot store or merged in.
-- Grain:     one row a trade.
-- Key:       (ts_event, venue, symbol, seq), held by who replaces a day: no row of it is ever added alone.
-- Retention: cold years, by dropping days.
--
-- ts_recv and seq are kept by what they differ from ts_event: a source without a receive clock, or whose rows are
-- numbered from time, takes next to no space for them. A negative seq_code is seq - ts_event - 2^40.
-- The projection is the 1-minute bars; it is part of the day and moves with it. The view bars_1m reads it.
CREATE TABLE IF NOT EXISTS trades
(
    ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    delay Int64 CODEC(T64, ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(toUnixTimestamp64Nano(ts_event) + delay, 'UTC'),
    venue LowCardinality(String) CODEC(ZSTD(1)),
    symbol LowCardinality(String) CODEC(ZSTD(1)),
    seq_code Int64 CODEC(DoubleDelta, ZSTD(1)),
    seq Int64 ALIAS if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code),
    price Float64 CODEC(ZSTD(1)),
    size Float64 CODEC(ZSTD(1)),
    side Int8 CODEC(ZSTD(1)),
    flags Int16 CODEC(ZSTD(1)),
    exchange LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    conditions LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    PROJECTION bars_1m
    (
        SELECT
            venue,
            symbol,
            toStartOfMinute(ts_event) AS minute,
            argMinIf(price, if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0),
            maxIf(price, bitAnd(flags, 3) = 0),
            minIf(price, bitAnd(flags, 3) = 0),
            argMaxIf(price, if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0),
            sumIf(size, bitAnd(flags, 3) = 0),
            sumIf(price * size, bitAnd(flags, 3) = 0),
            countIf(bitAnd(flags, 3) = 0),
            sumIf(size, (bitAnd(flags, 3) = 0) AND (side = 1)),
            minIf(if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0),
            maxIf(if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0)
        GROUP BY venue, symbol, minute
    )
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_event)
ORDER BY (venue, symbol, ts_event, seq_code)
