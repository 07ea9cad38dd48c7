-- Purpose:   1-minute bars: open is the price of the lowest seq, close of the highest. Refreshed when told to, soon
--            after a minute has closed and after late rows: what it lacks until then is read from the trades
--            (tapehouse/stores/questdb_bars.py). Refreshed by every transaction, it aggregates the open minute again
--            and again.
-- Grain:     one row a minute of a (venue, symbol) that has a trade that counts; ts is the minute's start.
-- Key:       (ts, venue, symbol).
-- Retention: outlives the trades; its refresh limit must stay below their TTL.
CREATE MATERIALIZED VIEW IF NOT EXISTS bars_1m WITH BASE trades REFRESH MANUAL AS (
    SELECT
        ts_event AS ts,
        venue,
        symbol,
        arg_min(price, seq) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, seq) AS close,
        sum(size) AS volume,
        sum(price * size) AS turnover,
        count() AS trades,
        sum(CASE WHEN side = 1 THEN size ELSE 0.0 END) AS buy_volume,
        min(seq) AS seq_first,
        max(seq) AS seq_last
    FROM trades
    WHERE (flags & 3) = 0
    SAMPLE BY 1m
) PARTITION BY DAY;
