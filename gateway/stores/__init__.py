"""Stores: one file a database."""
