"""Write pages, tables and plain text as Markdown."""

import re
from collections.abc import Iterable, Sequence


def page(title: str, says: str, content: str) -> str:
    """Return a page with a title, an introduction and content."""
    return f"# {title}\n\n{says}\n\n{content}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |\n" for row in (head, *rows)]
    return "".join([lines[0], "|---" * len(head) + "|\n", *lines[1:]])


def plain(text: str) -> str:
    """Return a text with Markdown's special characters escaped, except in code."""
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", part) for part in re.split(r"(`[^`]*`)", text))


def between(text: str, name: str, content: str) -> str:
    """Return the text with the part between the markers `name:begin` and `name:end` replaced."""
    head, begin, rest = text.partition(f"<!-- {name}:begin")
    mark, _, rest = rest.partition("-->\n")
    _, end, tail = rest.partition(f"<!-- {name}:end")
    return f"{head}{begin}{mark}-->\n{content}{end}{tail}"
