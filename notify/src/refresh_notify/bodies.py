"""Decompress response bodies in chunks of bounded size, so that a small body cannot exhaust memory."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

ACCEPTED: Final = "gzip, deflate"
"""The accepted encodings. Other encodings are unreadable."""
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_PIECE: Final = 2**20
"""Size of a decompressed chunk in bytes: a kilobyte can expand to a megabyte."""
_ANY: Final = 32 + zlib.MAX_WBITS
"""Detects gzip or zlib by the first bytes."""


class UnreadableBodyError(Exception):
    """A body that does not match its headers, or is truncated."""


def pieces(raw: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the decompressed body in chunks; UnreadableBodyError if it is corrupt or has another encoding."""
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        yield from raw
    elif kind in _PACKED:
        try:
            yield from _unpacked(raw)
        except zlib.error:
            raise UnreadableBodyError from None
    else:
        raise UnreadableBodyError


def _unpacked(raw: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = None
    for part in raw:
        left = part
        while left:
            if unpacker is None or unpacker.eof:
                # Some servers send raw deflate, without zlib's header of two bytes.
                is_bare = left[0] & 0x0F != zlib.DEFLATED and left[:1] != b"\x1f"
                unpacker = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else _ANY)
            yield unpacker.decompress(left, _PIECE)
            left = unpacker.unconsumed_tail or unpacker.unused_data
    if unpacker is not None and not unpacker.eof:
        raise UnreadableBodyError
