-- Purpose:   days of which an aggregate may lack trades that came late: readers make their candles of the trades
--            instead. Marked with the rows, in one transaction; removed when every aggregate was refreshed after that.
-- Grain:     one row a UTC day; marked is the last time that it was.
-- Key:       day.
-- Retention: until the aggregates are refreshed.
CREATE TABLE stale_days
(
    day DATE PRIMARY KEY,
    marked TIMESTAMPTZ NOT NULL
);
