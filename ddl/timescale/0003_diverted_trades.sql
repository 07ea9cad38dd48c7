-- Purpose:   trades of accounts that came later than `trades` takes them, which is 2 days before it would drop them: no
--            aggregate is refreshed so far back, and the next run of the retention would take them unseen.
-- Grain:     one row a trade of an account; diverted is when it was.
-- Key:       (ts_event, account_id, id), as of trades.
-- Retention: none: nothing else in this database has these rows.
CREATE TABLE diverted_trades
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
    diverted TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (timestamp, nanos, account_id, id)
);
CREATE INDEX idx_diverted_trades_account ON diverted_trades (account_id, timestamp DESC);
