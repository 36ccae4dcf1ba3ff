"""Update the page's catalogues: extract messages from templates and modules, and compile `.po` to `.mo`. `--check` compares instead.

A new message gets an empty translation in the `.po` file, which a unit test refuses. Translate it there and run `make generate` again.
"""

import io
import sys
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "page/src/refresh_page"
LOCALES: Final = PACKAGE / "i18n/locales"
_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.svg", "jinja2")]


def extracted() -> Catalog:
    """Return a catalogue of every message that the page's modules and templates mark."""
    found = Catalog(charset="utf-8")
    for filename, line, message, comments, context in extract_from_dir(str(PACKAGE), _METHODS, keywords={**DEFAULT_KEYWORDS, "N_": None}):
        found.add(message, locations=[(filename, line)], auto_comments=comments, context=context)
    return found


def updated(path: Path) -> tuple[bytes, bytes]:
    """Return the `.po` file at this path with today's messages, and the `.mo` file compiled from it."""
    with path.open("rb") as file:
        catalog = read_po(file, locale=path.parent.parent.name)
    template = extracted()
    template.creation_date = catalog.creation_date  # or each run would change the file
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.project, catalog.version = "dashboard-refresh", "page"
    catalog.msgid_bugs_address = catalog.last_translator = catalog.language_team = ""
    text, compiled = io.BytesIO(), io.BytesIO()
    write_po(text, catalog, width=120, sort_output=True, no_location=True, omit_header=False)
    write_mo(compiled, catalog)
    return text.getvalue(), compiled.getvalue()


def main() -> int:
    """Write the files, or with --check compare them; return 1 if a file is out of date."""
    stale = False
    for path in LOCALES.glob("*/LC_MESSAGES/*.po"):
        for target, content in zip((path, path.with_suffix(".mo")), updated(path), strict=True):
            if target.is_file() and target.read_bytes() == content:
                continue
            if "--check" in sys.argv[1:]:
                print(f"{target.relative_to(ROOT)} is out of date: run `make generate`", file=sys.stderr)
                stale = True
            else:
                target.write_bytes(content)
                print(f"wrote {target.relative_to(ROOT)}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
