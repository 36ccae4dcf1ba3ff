"""Report phrases that docs/style.md bans, as `file:line: phrase: what to write instead`. `make check` runs it; exit 1 if there are any.

scripts/phrases.py           every file of the repository but those in phrases-pending.txt
scripts/phrases.py --all     those, too
scripts/phrases.py PATH...   files and folders
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHRASES = ROOT / "scripts/phrases.txt"
PENDING = ROOT / "scripts/phrases-pending.txt"
FRENCH = ("docs/demarrage.md",)
QUOTED = ("docs/style.md", "scripts/phrases.txt", "scripts/phrases-pending.txt", "tests/unit/docs/test_phrases.py")
"""Files that quote what must not be written."""
GENERATED = ("tests/bench/results/",)
TEXTS = {"", ".css", ".html", ".j2", ".md", ".py", ".sh", ".sql", ".toml", ".tpl", ".ts", ".tsx", ".txt", ".yaml", ".yml"}

Phrase = tuple[re.Pattern[str], str]


def lines(path: Path) -> list[str]:
    """Return the lines of a list, without comments and blank lines."""
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def phrases() -> list[Phrase]:
    """Return each phrase as a pattern, with what to write instead."""
    return [compiled(*line.split("\t")) for line in lines(PHRASES)]


def compiled(pattern: str, instead: str) -> Phrase:
    """Return a line of the list as a pattern whose spaces match across lines of a comment."""
    return re.compile(pattern.replace(" ", r"[\s#]+"), re.IGNORECASE), instead


def found(text: str, known: list[Phrase]) -> Iterator[tuple[int, str, str]]:
    """Yield line, phrase and what to write instead for each phrase in a text."""
    for pattern, instead in known:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def files(paths: list[str], passed_over: tuple[str, ...]) -> list[str]:
    """Return the tracked texts under these paths, from the root."""
    listed = subprocess.run(["git", "ls-files", "--", *paths], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if Path(path).suffix in TEXTS and not path.startswith(passed_over) and (ROOT / path).is_file()]


def main(words: list[str]) -> int:
    """Print what was found; return 1 if there is anything, else 0."""
    pending = [] if words else lines(PENDING)
    paths = [word for word in words if word != "--all"]
    known = phrases()
    count = 0
    for path in files(paths, (*FRENCH, *QUOTED, *GENERATED, *pending)):
        for line, phrase, instead in sorted(found((ROOT / path).read_text(), known)):
            print(f"{path}:{line}: {phrase}: {instead}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
