"""Counting the marts and judging the counts."""
