"""Translates texts and formats numbers and times for one reader.

English texts are the message ids. `make generate` compiles the catalogues in `locales/`, since the standard library reads `.mo` files only.
"""

import gettext
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from refresh_api.model import in_zone
from refresh_api.plain import plain
from refresh_page.i18n.labels import LABELS, N_

LANGUAGES: Final = ("en", "fr")
DOMAIN: Final = "refresh_page"
LOCALES: Final = Path(__file__).parent / "locales"
_UNITS: Final = ((86400, N_("{n} d")), (3600, N_("{n} h")), (60, N_("{n} min")), (1, N_("{n} s")))


def language_of(header: str) -> str:
    """Return the language that an Accept-Language header prefers: `en` or `fr`; `en` if it names neither."""
    preferences: list[tuple[float, int, str]] = []
    for position, part in enumerate(header.split(",")):
        name, _, weight = part.strip().partition(";q=")
        code = name.strip().lower().partition("-")[0]
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 0.0
        if code in LANGUAGES and quality > 0:
            preferences.append((-quality, position, code))
    return min(preferences)[2] if preferences else "en"


@lru_cache
def _catalogue(language: str) -> gettext.NullTranslations:
    """Return the catalogue of a language. FileNotFoundError if it is missing, except for English, which needs none."""
    return gettext.NullTranslations() if language == "en" else gettext.translation(DOMAIN, LOCALES, [language])


@dataclass(frozen=True)
class Locale:
    """The language of one reader, and the time at which the page is rendered."""

    language: str
    now: datetime

    def gettext(self, message: str, /, **values: object) -> str:
        """Return the translation of a message with its `{placeholders}` filled; Markup if one of the values is Markup."""
        # the message id "" is the header of a catalogue
        return _filled(_catalogue(self.language).gettext(message) if message else "", values)

    def ngettext(self, singular: str, plural: str, n: int, /, **values: object) -> str:
        """Return the translation in the plural form for `n`; `{n}` is filled with the number, in groups of three digits."""
        return _filled(_catalogue(self.language).ngettext(singular, plural, n), {"n": self.number(n), **values})

    def label(self, value: str) -> str:
        """Return the label of an enum value; a value without a label is returned unchanged."""
        return self.gettext(LABELS[value]) if value in LABELS else value

    def number(self, number: float) -> str:
        """Return a whole number in groups of three digits."""
        return f"{number:,.0f}".replace(",", "\u202f" if self.language == "fr" else ",")

    def seconds(self, seconds: float) -> str:
        """Return a duration: `0.4 s`, `12 s`, `3 min 20 s` or `1 h 05 min`."""
        if seconds < 9.95:
            text = f"{seconds:.1f} s"
            return text.replace(".", ",") if self.language == "fr" else text
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes:02d} min"
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

    def distance(self, moment: datetime) -> str:
        """Return a time relative to now: `5 min ago` or `in 2 h`."""
        seconds = (moment - self.now).total_seconds()
        size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), _UNITS[-1])
        length = self.gettext(unit, n=int(abs(seconds) // size))
        return self.gettext(N_("in {time}") if seconds > 0 else N_("{time} ago"), time=length)

    def moment(self, moment: datetime, zone: str = "Etc/UTC") -> str:
        """Return a time in a time zone: `2026-03-03 12:30:00 UTC`."""
        there = in_zone(moment, ZoneInfo(zone))
        return f"{there:%Y-%m-%d %H:%M:%S} {there:%Z}"

    def clock(self, moment: datetime, zone: str) -> str:
        """Return the minute of a time in a time zone: `2026-03-03 12:30 UTC`."""
        there = in_zone(moment, ZoneInfo(zone))
        return f"{there:%Y-%m-%d %H:%M} {there:%Z}"


def _filled(text: str, values: dict[str, object]) -> str:
    if any(isinstance(value, Markup) for value in values.values()):
        # the message is ours, and Markup.format escapes the values that are not Markup
        shown = {name: value if isinstance(value, Markup) else plain(str(value)) for name, value in values.items()}
        return Markup(text).format(**shown)  # noqa: S704
    return text.format(**values) if values else text
