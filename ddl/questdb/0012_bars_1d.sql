-- Purpose:   daily bars made of the 1-minute bars, refreshed when told to, after those; 1w and 1M are sampled from them
--            when asked for.
-- Grain:     one row a UTC day of a (venue, symbol) that has a trade that counts; ts is 00:00.
-- Key:       (ts, venue, symbol).
-- Retention: as bars_1m.
CREATE MATERIALIZED VIEW IF NOT EXISTS bars_1d WITH BASE bars_1m REFRESH MANUAL AS (
    SELECT
        ts,
        venue,
        symbol,
        arg_min(open, seq_first) AS open,
        max(high) AS high,
        min(low) AS low,
        arg_max(close, seq_last) AS close,
        sum(volume) AS volume,
        sum(turnover) AS turnover,
        sum(trades) AS trades,
        sum(buy_volume) AS buy_volume,
        min(seq_first) AS seq_first,
        max(seq_last) AS seq_last
    FROM bars_1m
    SAMPLE BY 1d
) PARTITION BY MONTH;
