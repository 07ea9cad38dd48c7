"""Tapehouse: a market data platform with one truth at every seam."""
