"""Keeps the files of runs in a bucket."""
