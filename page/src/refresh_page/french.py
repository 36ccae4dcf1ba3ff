"""The page in French. A test sees to it that no text of the page is missing here."""

from typing import Final

FRENCH: Final[dict[str, str]] = {}
