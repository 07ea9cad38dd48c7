-- Purpose:   all trades of accounts that this database has: those of trades, and those diverted.
-- Grain:     one row a trade of an account; ts_event in ns since 1970, UTC.
-- Key:       (ts_event, account_id, id), in the order of (timestamp, nanos, account_id, id).
-- Retention: as trades and diverted_trades.
-- Traps:     a trade that is in both was corrected after it had been stored: the diverted one is the newer.
CREATE VIEW account_trades AS
SELECT timestamp, nanos, (extract(epoch FROM timestamp) * 1000000)::BIGINT * 1000 + nanos AS ts_event,
    coalesce(ts_recv, (extract(epoch FROM timestamp) * 1000000)::BIGINT * 1000 + nanos) AS ts_recv,
    account_id, id, total_done, trx_amount, amount, trans_type
FROM trades AS kept
WHERE NOT EXISTS (
    SELECT FROM diverted_trades AS newer
    WHERE newer.timestamp = kept.timestamp AND newer.nanos = kept.nanos
        AND newer.account_id = kept.account_id AND newer.id = kept.id
)
UNION ALL
SELECT timestamp, nanos, (extract(epoch FROM timestamp) * 1000000)::BIGINT * 1000 + nanos,
    coalesce(ts_recv, (extract(epoch FROM timestamp) * 1000000)::BIGINT * 1000 + nanos),
    account_id, id, total_done, trx_amount, amount, trans_type
FROM diverted_trades;
