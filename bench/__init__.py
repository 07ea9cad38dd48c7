"""Measurements: one file a figure, each beside its floor peer in the same run.

`make bench NAME=x` runs bench/x.py; its last line is one JSON object with name, figures, peer and ratio.
`make bench` runs all; each brings its section of bench/RESULTS.md up to date.
"""
