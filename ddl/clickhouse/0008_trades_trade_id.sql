-- Purpose:   what the source calls a trade where that is not its seq: a UUID, an exchange's own id.
-- Grain:     a column of trades; null costs nothing.
-- Key:       in none.
-- Retention: that of trades.
ALTER TABLE trades ADD COLUMN IF NOT EXISTS trade_id Nullable(String) CODEC(ZSTD(1))
