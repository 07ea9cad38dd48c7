"""Replay: recordings served in the protocol of their venue, with injected faults on request."""
