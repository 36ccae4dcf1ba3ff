"""Runs one dashboard refresh."""
