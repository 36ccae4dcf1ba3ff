"""Errors, secrets, clock and backoff, which everything else uses."""
