"""What many readers see at the same moment is made once."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MAX_ENTRIES: Final = 4
"""Each is as large as everything that is shown, and whoever asks chooses how many there are."""


class Memo(Generic[T]):
    """Answers of one moment; all are forgotten when the next one comes."""

    def __init__(self) -> None:
        self._moment: Hashable = None
        self._answers: dict[Hashable, T] = {}

    def get(self, moment: Hashable, key: Hashable, make: Callable[[], T]) -> T:
        """Return the answer of this moment, made where there is none yet."""
        if moment != self._moment or len(self._answers) >= _MAX_ENTRIES:
            self._moment, self._answers = moment, {}
        if key not in self._answers:
            self._answers[key] = make()
        return self._answers[key]
