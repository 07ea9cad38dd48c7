-- Purpose:   trades of accounts of the last 30 days, from the stream; the table `trades` of the documented system.
--            Trades of venues are in market_trades.
-- Grain:     one row a trade of an account.
-- Key:       (ts_event, account_id, id), where ts_event is timestamp and nanos: timestamp holds whole microseconds,
--            nanos the 0 to 999 ns after them.
-- Retention: 30 days, by dropping whole chunks; compressed after 7 days.
-- Traps:     the documented DECIMAL(20,2) and DECIMAL(20,8) would round and the documented INTEGER would overflow:
--            amounts are NUMERIC(38, 18) and account_id is BIGINT, as everywhere else. The documented key (timestamp,
--            id) would let one account's trade replace another's. A row that is inserted without nanos and ts_recv is
--            taken as one of a whole microsecond, received at once. create_hypertable would add an index that the key
--            already is. A late row in a compressed chunk and its conflicts are found by the key's columns, so they
--            sort the chunk. Retention never takes a row that a refresh of the aggregates (30 days back) has still to
--            read, and trades older than that go to diverted_trades.
CREATE TABLE trades
(
    id BIGINT NOT NULL,
    total_done NUMERIC(38, 18) NOT NULL,
    trx_amount NUMERIC(38, 18) NOT NULL,
    amount NUMERIC(38, 18) NOT NULL,
    trans_type SMALLINT NOT NULL,
    account_id BIGINT NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    nanos SMALLINT NOT NULL DEFAULT 0 CHECK (nanos BETWEEN 0 AND 999),
    ts_recv BIGINT,
    PRIMARY KEY (timestamp, nanos, account_id, id)
);
SELECT create_hypertable('trades', 'timestamp',
    chunk_time_interval => INTERVAL '1 day', create_default_indexes => false);
SELECT set_chunk_time_interval('trades', INTERVAL '1 day');
CREATE INDEX idx_trades_time ON trades USING BRIN (timestamp);
CREATE INDEX idx_trades_account ON trades (account_id, timestamp DESC);
ALTER TABLE trades SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'account_id',
    timescaledb.compress_orderby = 'timestamp DESC, nanos, id'
);
SELECT add_compression_policy('trades', INTERVAL '7 days');
SELECT add_retention_policy('trades', INTERVAL '30 days');
