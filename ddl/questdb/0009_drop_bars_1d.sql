-- Purpose:   takes away the view that was refreshed by every transaction; 0012 makes it anew, refreshed when told to.
-- Grain:     none.
-- Key:       none.
-- Retention: none; the bars are made of the trades again.
DROP MATERIALIZED VIEW IF EXISTS bars_1d;
