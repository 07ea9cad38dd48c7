-- Purpose:   candles of accounts of 1 minute; 3m, 5m and 15m are merged from them when asked for.
-- Grain:     one row 1 minute of an account that has a trade in it.
-- Key:       (interval_start, account_id).
-- Retention: 7 years; the rows of trades that were dropped stay.
-- Traps:     first(amount, timestamp) picks any of the trades of one time: they are ordered by a number made of the
--            time in ns and the id, which is below 10^19. WITH DATA would materialize the open bucket, whose later
--            trades were then not seen: it begins empty, and the policy ends a minute before now. materialized_only is
--            true by default, which would hide all after the last refresh. Without a policy nothing would fill it. A
--            refresh further back than trades are kept would delete rows: it reaches back 30 days and not further. Late
--            trades of refreshed buckets are seen after the next refresh; until then stale_days names their days.
CREATE MATERIALIZED VIEW candlesticks_1m
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('1 minute', timestamp) AS interval_start,
    account_id,
    first(
        amount,
        (extract(epoch FROM timestamp AT TIME ZONE 'UTC') * 1000000000 + nanos) * 10000000000000000000 + id
    ) AS open_price,
    max(amount) AS high_price,
    min(amount) AS low_price,
    last(
        amount,
        (extract(epoch FROM timestamp AT TIME ZONE 'UTC') * 1000000000 + nanos) * 10000000000000000000 + id
    ) AS close_price,
    sum(trx_amount) AS volume,
    count(*) AS trades
FROM trades
GROUP BY 1, account_id
WITH NO DATA;
SELECT add_continuous_aggregate_policy('candlesticks_1m', start_offset => INTERVAL '30 days',
    end_offset => INTERVAL '1 minute', schedule_interval => INTERVAL '1 minute');
SELECT add_retention_policy('candlesticks_1m', INTERVAL '7 years');
