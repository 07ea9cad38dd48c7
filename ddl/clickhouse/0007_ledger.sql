-- Purpose:   what is known of every day: who owns it, and what its copy was proven to be.
-- Grain:     one row a kind and day; the highest revision counts.
-- Key:       (kind, day).
-- Retention: for ever; a day that was dropped keeps its row, with none of its rows left.
CREATE TABLE IF NOT EXISTS ledger
(
    kind LowCardinality(String),
    day Date,
    owner LowCardinality(String),
    rows UInt64,
    fingerprint String,
    marks String,
    late String,
    fault String,
    pending String,
    seconds Float64,
    bytes UInt64,
    proven DateTime64(9, 'UTC'),
    revision UInt64
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (kind, day)
