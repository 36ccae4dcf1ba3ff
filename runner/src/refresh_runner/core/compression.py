"""Compression of files that are stored in the warehouse."""

import gzip
import io
from typing import Final

_LONGEST: Final = 512 * 1024 * 1024
"""Maximum number of unpacked bytes."""


def packed(text: str) -> bytes:
    """Return a text compressed with gzip. Equal texts result in equal bytes."""
    return gzip.compress(text.encode(errors="replace"), 6, mtime=0)


def unpacked(content: bytes) -> str:
    """Return the text in gzip data. Raise ValueError if it is invalid or too long."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            text = file.read(_LONGEST + 1)
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from error
    if len(text) > _LONGEST:
        raise ValueError(f"more than {_LONGEST} bytes")
    return text.decode()
