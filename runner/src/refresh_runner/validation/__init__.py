"""Counts the marts, and gives verdicts on the counts."""
