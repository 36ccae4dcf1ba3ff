"""The body of an answer, unpacked piece by piece, so that none takes more memory than is asked for; one that is broken says so."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

ACCEPTED: Final = "gzip, deflate"
"""What calls ask for; anything else that a server packs its answer with is unreadable."""
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_PIECE: Final = 2**20
"""Bytes that are unpacked at once: a kilobyte can hold a megabyte of zeros."""
_ANY: Final = 32 + zlib.MAX_WBITS
"""gzip or zlib, as the first bytes say."""


class UnreadableBodyError(Exception):
    """It is not what its headers say, or ends too early."""


def pieces(raw: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield what was packed, in pieces of a bounded size; UnreadableBodyError where it is broken, or packed in another way."""
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
                # Some say deflate and leave zlib's two bytes of header out.
                is_bare = left[0] & 0x0F != zlib.DEFLATED and left[:1] != b"\x1f"
                unpacker = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else _ANY)
            yield unpacker.decompress(left, _PIECE)
            left = unpacker.unconsumed_tail or unpacker.unused_data
    if unpacker is not None and not unpacker.eof:
        raise UnreadableBodyError
