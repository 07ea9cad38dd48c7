-- Purpose:   1-minute bars of closed days, from the projection that travels with each day of trades.
-- Grain:     one bar [ts, ts + 1m) of a symbol that has trades in it; the columns are those of a bar everywhere.
-- Key:       (ts, venue, symbol).
-- Retention: that of trades.
--
-- Filter on ts: toStartOfMinute keeps what the primary key and the partitions can skip.
CREATE VIEW IF NOT EXISTS bars_1m AS
SELECT
    toDateTime64(toStartOfMinute(ts_event), 9, 'UTC') AS ts,
    venue,
    symbol,
    argMinIf(price, if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0) AS open,
    maxIf(price, bitAnd(flags, 3) = 0) AS high,
    minIf(price, bitAnd(flags, 3) = 0) AS low,
    argMaxIf(price, if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0) AS close,
    sumIf(size, bitAnd(flags, 3) = 0) AS volume,
    sumIf(price * size, bitAnd(flags, 3) = 0) AS turnover,
    toInt64(countIf(bitAnd(flags, 3) = 0)) AS trades,
    sumIf(size, (bitAnd(flags, 3) = 0) AND (side = 1)) AS buy_volume,
    minIf(if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0) AS seq_first,
    maxIf(if(seq_code < 0, toUnixTimestamp64Nano(ts_event) + 1099511627776 + seq_code, seq_code), bitAnd(flags, 3) = 0) AS seq_last
FROM trades
GROUP BY venue, symbol, toStartOfMinute(ts_event)
HAVING countIf(bitAnd(flags, 3) = 0) > 0
