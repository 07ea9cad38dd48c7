"""Feeds: one file a source."""
