"""The simulated venue: instruments, a timeline, trades, and their feed."""
