"""Answers: a query planned over the stores that own its days, executed, and merged in order."""
