-- Purpose:   trades of accounts of closed days, copied whole from the hot store or merged in.
-- Grain:     one row a trade of an account.
-- Key:       (ts_event, account_id, id), held by who replaces a day.
-- Retention: cold years, by dropping days.
CREATE TABLE IF NOT EXISTS account_trades
(
    ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    account_id Int64 CODEC(ZSTD(1)),
    id Int64 CODEC(Delta, ZSTD(1)),
    total_done Decimal(38, 18) CODEC(ZSTD(1)),
    trx_amount Decimal(38, 18) CODEC(ZSTD(1)),
    amount Decimal(38, 18) CODEC(ZSTD(1)),
    trans_type Int16 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts_event)
ORDER BY (account_id, ts_event, id)
