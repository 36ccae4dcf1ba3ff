"""Computes what many readers request at the same moment only once."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MAX_ENTRIES: Final = 4
"""Each entry is as large as a whole page, and requests choose the keys."""


class Memo(Generic[T]):
    """Results of one moment; the next moment discards all of them."""

    def __init__(self) -> None:
        self._moment: Hashable = None
        self._results: dict[Hashable, T] = {}

    def get(self, moment: Hashable, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result for this moment and key; compute it if it is missing."""
        if moment != self._moment or len(self._results) >= _MAX_ENTRIES:
            self._moment, self._results = moment, {}
        if key not in self._results:
            self._results[key] = make()
        return self._results[key]
