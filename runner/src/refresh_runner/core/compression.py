"""How files are packed before they are kept."""

import gzip


def packed(text: str) -> bytes:
    """Return a text packed by gzip, as it is kept."""
    return gzip.compress(text.encode(errors="replace"), 6, mtime=0)
