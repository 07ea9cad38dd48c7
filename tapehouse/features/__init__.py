"""Features of bars: indicators and candlestick patterns, by one function for live and historical bars."""
