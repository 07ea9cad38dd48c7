"""Bars: the kernel that makes them from ticks, rings of the newest bars, bars of whole series, and rankings."""
