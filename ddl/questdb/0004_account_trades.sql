-- Purpose:   the trades of accounts; amounts exact.
-- Grain:     one row a transaction.
-- Key:       (ts_event, account_id, id), the last write wins.
-- Retention: as trades.
CREATE TABLE IF NOT EXISTS account_trades (
    ts_event   TIMESTAMP_NS,
    ts_recv    TIMESTAMP_NS,
    account_id LONG,
    id         LONG,
    total_done DECIMAL(38, 18),
    trx_amount DECIMAL(38, 18),
    amount     DECIMAL(38, 18),
    trans_type SHORT
) TIMESTAMP(ts_event) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts_event, account_id, id);
