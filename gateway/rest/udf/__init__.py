"""TradingView's UDF under /udf: what its charting library asks a server for, answered as its own client reads it."""
