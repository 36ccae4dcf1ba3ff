"""Compression of files that are stored in the warehouse."""

import gzip
import io
from typing import Final

_LONGEST: Final = 512 * 1024 * 1024
"""Bytes that are unpacked at most."""


def packed(text: str) -> bytes:
    """Return a text as gzip; the same text gives the same bytes."""
    return gzip.compress(text.encode(errors="replace"), 6, mtime=0)


def unpacked(content: bytes) -> str:
    """Return the text of a gzip; ValueError if it cannot be read, or is too long."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            text = file.read(_LONGEST + 1)
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from error
    if len(text) > _LONGEST:
        raise ValueError(f"more than {_LONGEST} bytes")
    return text.decode()
