"""Reads the rows of a query from the gateway or the stores, and writes them to a file or standard output."""
