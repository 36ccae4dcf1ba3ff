"""Compression of files that are stored in the warehouse."""

import gzip


def packed(text: str) -> bytes:
    """Return a text as gzip; the same text gives the same bytes."""
    return gzip.compress(text.encode(errors="replace"), 6, mtime=0)
