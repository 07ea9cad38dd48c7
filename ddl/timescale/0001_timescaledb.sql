-- Purpose:   the extension that all other files need; its community part, for continuous aggregates and policies.
-- Grain:     none.
-- Key:       none.
-- Retention: none.
-- Traps:     without `timescaledb` in shared_preload_libraries this statement closes the connection; an Apache edition
--            rejects the later files. Both are looked for before, and named. timescaledb.max_memory_size, which is
--            documented, is no setting of any version and is left out: PostgreSQL takes any name with a dot and ignores
--            it. Memory is bounded by shared_buffers, work_mem and timescaledb.max_background_workers.
CREATE EXTENSION IF NOT EXISTS timescaledb;
