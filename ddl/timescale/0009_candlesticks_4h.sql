-- Purpose:   candles of accounts of 4 hours, made of those of 1 hour.
-- Grain:     one row 4 hours of an account that has a trade in it.
-- Key:       (interval_start, account_id).
-- Retention: 7 years.
-- Traps:     as of candlesticks_30m. Its open and close are by the start of smaller candles, of which no two are equal.
CREATE MATERIALIZED VIEW candlesticks_4h
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('4 hours', interval_start) AS interval_start,
    account_id,
    first(open_price, interval_start) AS open_price,
    max(high_price) AS high_price,
    min(low_price) AS low_price,
    last(close_price, interval_start) AS close_price,
    sum(volume) AS volume,
    sum(trades) AS trades
FROM candlesticks_1h
GROUP BY 1, account_id
WITH NO DATA;
SELECT add_continuous_aggregate_policy('candlesticks_4h', start_offset => INTERVAL '30 days',
    end_offset => INTERVAL '1 minute', schedule_interval => INTERVAL '30 minutes');
SELECT add_retention_policy('candlesticks_4h', INTERVAL '7 years');
