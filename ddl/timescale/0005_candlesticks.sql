-- Purpose:   closed candles of accounts as documented, for queries by interval_type (30m, 1h, 4h, 1d): filled from the
--            aggregates by upsert, for nothing fills it by itself.
-- Grain:     one row an interval of an account that has a trade in it; interval_start is its first instant.
-- Key:       (interval_start, interval_type, account_id).
-- Retention: 7 years.
-- Traps:     types are wider than documented, as of trades; volume is a sum and has no bound. A candle is filled a
--            minute after its end, and again after a late trade or a correction, once the aggregates have it.
CREATE TABLE candlesticks
(
    interval_start TIMESTAMPTZ NOT NULL,
    interval_type VARCHAR(10) NOT NULL,
    account_id BIGINT NOT NULL,
    open_price NUMERIC(38, 18) NOT NULL,
    high_price NUMERIC(38, 18) NOT NULL,
    low_price NUMERIC(38, 18) NOT NULL,
    close_price NUMERIC(38, 18) NOT NULL,
    volume NUMERIC NOT NULL,
    PRIMARY KEY (interval_start, interval_type, account_id)
);
SELECT create_hypertable('candlesticks', 'interval_start', create_default_indexes => false);
CREATE INDEX idx_candlesticks_lookup ON candlesticks (account_id, interval_type, interval_start DESC);
SELECT add_retention_policy('candlesticks', INTERVAL '7 years');
