"""Pages made from templates: everything is escaped, and nothing that is not seen gets into what is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from refresh_api.model import time_text
from refresh_api.plain import plain
from refresh_page.i18n.words import Locale
from refresh_page.web.charts import Charts

SIGNS: Final[Mapping[str, str]] = {"good": "✓", "warn": "⚠", "bad": "✗", "none": "–"}
_SHOWN_AS: Final = {
    "good": "Succeeded VALID ok True",
    "warn": "Warned WARNING warned",
    "bad": "Failed FAILED failed broken False",
    "none": "Skipped Pending skipped Unknown",
    "live": "Running",
}


class _Tones(dict[str, str]):
    """How outcomes, states and verdicts are shown; one that nobody here knows, as the log tables may hold it, is shown as none."""

    def __missing__(self, name: object) -> str:
        return "none"


TONES: Final[Mapping[str, str]] = _Tones({name: tone for tone, names in _SHOWN_AS.items() for name in names.split()})


def _finalize(value: object) -> object:
    """What a template puts out: our own markup as it is, all else without anything hidden in it."""
    if value is None:
        raise ValueError("a template puts out what is not there")
    return value if isinstance(value, Markup) else plain(str(value))


class Templates:
    """The templates."""

    def __init__(self, base_path: str) -> None:
        self._base_path = base_path
        self._environment = Environment(
            loader=PackageLoader("refresh_page"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(signs=SIGNS, tones=TONES)

    def render(self, template: str, words: Locale, version: str, /, **values: object) -> str:
        """Return a page; `version` is what its live updates compare."""

        def url(path: str) -> str:
            return self._base_path + path

        def ago(moment: datetime) -> Markup:
            shown = time_text(moment), words.moment(moment), words.distance(moment)
            return Markup('<time datetime="{}" title="{}">{}</time>').format(*shown)

        def draw(refresh: str) -> Charts:
            return Charts(words, lambda run: url(f"{refresh}/runs/{run}"))

        made = self._environment.get_template(template)
        return made.render(
            _=words, words=words, language=words.language, version=version, url=url, ago=ago, now=words.now, draw=draw, **values
        )
