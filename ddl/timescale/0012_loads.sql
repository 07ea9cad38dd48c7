-- Purpose:   how far the stream was loaded: the floor is stored in one transaction with the rows.
-- Grain:     one row a stream, which is known by when it was created, in ns since 1970.
-- Key:       created_ns.
-- Retention: none.
-- Traps:     a stream is purged of what was not loaded only while it has no consumer for it: consumer_ns is when the
--            consumer was created that the last load came from, and a later one shows that there may be a hole.
CREATE TABLE loads
(
    created_ns BIGINT PRIMARY KEY,
    consumer_ns BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    diverted BIGINT NOT NULL
);
