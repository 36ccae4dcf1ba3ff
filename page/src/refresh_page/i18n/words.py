"""The page's words in the reader's language: English texts are the keys, French ones stand in french.py."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from refresh_api.model import in_zone
from refresh_page.i18n.french import FRENCH

LANGUAGES: Final = ("en", "fr")
_UNITS: Final = ((86400, "{n} d"), (3600, "{n} h"), (60, "{n} min"), (1, "{n} s"))


def language_of(header: str) -> str:
    """Return the language by an Accept-Language header; English unless French is liked better."""
    liked: list[tuple[float, int, str]] = []
    for position, part in enumerate(header.split(",")):
        name, _, weight = part.strip().partition(";q=")
        code = name.strip().lower().partition("-")[0]
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 0.0
        if code in LANGUAGES and quality > 0:
            liked.append((-quality, position, code))
    return min(liked)[2] if liked else "en"


@dataclass(frozen=True)
class Locale:
    """Texts, numbers and times for one reader."""

    language: str
    now: datetime

    def __call__(self, text: str, **values: object) -> str:
        """Return a text in the reader's language, with its values."""
        found = FRENCH[text] if self.language == "fr" else text
        return found.format(**values) if values else found

    def known(self, text: str) -> str:
        """Return the text in the reader's language where it is one of ours, and as it is otherwise."""
        return FRENCH.get(text, text) if self.language == "fr" else text

    def number(self, number: float) -> str:
        """Return a whole number in groups of three digits."""
        return f"{number:,.0f}".replace(",", "\u202f" if self.language == "fr" else ",")

    def seconds(self, seconds: float) -> str:
        """Return a length of time, as short as it may be read: 0.4 s, 12 s, 3 min 20 s, 1 h 05 min."""
        if seconds < 9.95:
            text = f"{seconds:.1f} s"
            return text.replace(".", ",") if self.language == "fr" else text
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes:02d} min"
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

    def distance(self, moment: datetime) -> str:
        """Return how far a moment is: `5 min ago`, `in 2 h`."""
        seconds = (moment - self.now).total_seconds()
        size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), _UNITS[-1])
        length = unit.format(n=int(abs(seconds) // size))
        if self.language == "fr":
            length = length.replace(" d", " j")
        return self("in {time}" if seconds > 0 else "{time} ago", time=length)

    def moment(self, moment: datetime, zone: str = "Etc/UTC") -> str:
        """Return a moment in a zone: `2026-03-03 12:30 UTC`."""
        there = in_zone(moment, ZoneInfo(zone))
        return f"{there:%Y-%m-%d %H:%M:%S} {there:%Z}"
