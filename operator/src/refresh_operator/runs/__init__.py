"""Analyses of a snapshot: active, finished, missed and requested runs, and suspension; pure."""
