-- Purpose:   what a source had and this system has not: missing ids, or a disconnection of unknown count.
-- Grain:     one row a gap of one (kind, venue, symbol); seq is the first missing id.
-- Key:       (ts_event, venue, symbol, seq, kind), the last write wins, so that closing a gap replaces its row.
-- Retention: as trades.
CREATE TABLE IF NOT EXISTS gaps (
    ts_event TIMESTAMP_NS,
    ts_recv  TIMESTAMP_NS,
    venue    SYMBOL,
    symbol   SYMBOL,
    seq      LONG,
    kind     SYMBOL,
    ts_end   TIMESTAMP_NS,
    seq_last LONG,
    missing  LONG,
    closed   BOOLEAN,
    reason   SYMBOL
) TIMESTAMP(ts_event) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts_event, venue, symbol, seq, kind);
