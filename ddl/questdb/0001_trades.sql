-- Purpose:   every trade as its source gave it; a cancelled one is the same key with its flag set.
-- Grain:     one row a trade.
-- Key:       (ts_event, venue, symbol, seq), the last write wins.
-- Retention: for ever, unless hot days are set; then by TTL alone, behind the mirror's proof.
CREATE TABLE IF NOT EXISTS trades (
    ts_event   TIMESTAMP_NS,
    ts_recv    TIMESTAMP_NS,
    venue      SYMBOL,
    symbol     SYMBOL,
    seq        LONG,
    price      DOUBLE,
    size       DOUBLE,
    side       BYTE,
    flags      SHORT,
    exchange   SYMBOL,
    conditions SYMBOL
) TIMESTAMP(ts_event) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts_event, venue, symbol, seq);
