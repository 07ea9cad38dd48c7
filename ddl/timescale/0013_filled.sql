-- Purpose:   how far the table candlesticks was filled.
-- Grain:     one row an interval_type; all its candles that end at or before filled are in the table.
-- Key:       interval_type.
-- Retention: none.
CREATE TABLE filled
(
    interval_type VARCHAR(10) PRIMARY KEY,
    filled TIMESTAMPTZ NOT NULL
);
