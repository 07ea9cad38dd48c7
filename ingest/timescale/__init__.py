"""Account trades from the stream into TimescaleDB, and the documented table of closed candles."""
