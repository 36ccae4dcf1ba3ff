"""Reads the run log in the warehouse."""
