"""Composes the rooms: the command line, the platform on one machine, and the fault drill."""
