"""Imports: the feeds of files and captures, and the retry of quarantined rows."""
