"""Decides what each page shows: pure functions from status and run log to view models."""
