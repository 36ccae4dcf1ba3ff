"""Proves that the result of a node is what building it again would give, so that a run reuses it."""
