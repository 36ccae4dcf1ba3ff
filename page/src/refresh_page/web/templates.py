"""Renders pages from templates. Every value is escaped, and invisible characters in it are made visible."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from refresh_api.model import time_text
from refresh_api.plain import plain
from refresh_api.project import short_revision
from refresh_api.status import clip
from refresh_page.i18n.locale import Locale
from refresh_page.views.issue_texts import issue_text
from refresh_page.web.charts import Charts, coming_marks
from refresh_page.web.svg import BOX_HEIGHT, BOX_WIDTH, graph_drawing, text_width, verdict_marks
from refresh_page.web.tones import SIGNS, TONES


class Templates:
    """The page's templates, with the functions that they call."""

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
        self._environment.globals.update(
            signs=SIGNS,
            tones=TONES,
            issue_text=issue_text,
            code=_code,
            english=_english,
            revision=_revision,
            text_width=text_width,
            coming_marks=coming_marks,
            verdict_marks=lambda states: verdict_marks([_verdict_tone(state) for state in states]),
            graph_drawing=graph_drawing,
            box=(BOX_WIDTH, BOX_HEIGHT),
            clip=clip,
        )

    def render(self, template: str, locale: Locale, version: str, /, **values: object) -> str:
        """Return a page. An open page reloads its content when the server announces another `version`."""

        def url(path: str) -> str:
            return self._base_path + path

        def ago(moment: datetime) -> Markup:
            return Markup('<time datetime="{}" title="{}">{}</time>').format(
                time_text(moment), locale.moment(moment), locale.distance(moment)
            )

        def node_url(refresh: str, node: str) -> str:
            return url(f"{refresh}/nodes/{quote(node, safe='')}")

        def charts(refresh: str) -> Charts:
            return Charts(locale, lambda run: url(f"{refresh}/runs/{run}"))

        functions: Mapping[str, object] = {
            "_": locale.gettext,
            "ngettext": locale.ngettext,
            "locale": locale,
            "language": locale.language,
            "url": url,
            "node_url": node_url,
            "ago": ago,
            "charts": charts,
        }
        return self._environment.get_template(template).render(**functions, version=version, **values)


def _finalize(value: object) -> object:
    """Return what a template prints: Markup unchanged, everything else with its invisible characters made visible."""
    if value is None:
        raise ValueError("a template must not print None")
    return value if isinstance(value, Markup) else plain(str(value))


def _verdict_tone(state: str | None) -> str | None:
    """Return the tone of a test's result; one that was reused has passed."""
    return None if state is None else TONES["ok" if state == "reused" else state]


def _code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(plain(text))


def _revision(text: str) -> Markup:
    """Return a revision in short form; its title is the whole one."""
    return Markup('<code class="revision" title="{}">{}</code>').format(plain(text), plain(short_revision(text)))


def _english(text: str) -> Markup:
    """Return a message of the operator or runner, marked as English for screen readers, whatever the language of the page."""
    return Markup('<span lang="en" dir="auto">{}</span>').format(plain(text))
