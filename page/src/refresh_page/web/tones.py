"""Maps outcomes, states and verdicts to the sign and colour that show them."""

from collections.abc import Mapping
from typing import Final

SIGNS: Final[Mapping[str, str]] = {"good": "✓", "warn": "⚠", "bad": "✗", "none": "–"}
_VALUES: Final = {
    "good": "Succeeded VALID ok True Same",
    "warn": "Warned WARNING warned Differs",
    "bad": "Failed FAILED failed broken False",
    "none": "Skipped Pending skipped Unknown",
    "live": "Running",
}


class _Tones(dict[str, str]):
    """A mapping in which an unknown value, such as one that a newer runner wrote, is `none`."""

    def __missing__(self, value: object) -> str:
        return "none"


TONES: Final[Mapping[str, str]] = _Tones({value: tone for tone, values in _VALUES.items() for value in values.split()})
