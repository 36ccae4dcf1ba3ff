"""What kubectl asks for completion: `kubectl_complete-dashboardrefresh WORDS…` prints one proposal a line, then a directive."""

import sys
from collections.abc import Sequence

from refresh_api.plain import plain
from refresh_cli.__main__ import HELP
from refresh_cli.kubectl import CliError, Kubectl

_NO_FILES = 4
_FILES = 0


def proposals(words: Sequence[str], kubectl: Kubectl) -> tuple[list[str], int]:
    """Return what the last of the words can become, and what the shell is to do besides."""
    *before, last = words or [""]
    words_only = [word for word in before if not word.startswith("-")]
    if not words_only:
        return [f"{name}\t{says}" for name, says in HELP.items() if name.startswith(last)], _NO_FILES
    if words_only[0] == "lint":
        return [], _FILES
    if len(words_only) == 1:
        return [name for name in kubectl.names() if name.startswith(last)], _NO_FILES
    if words_only[0] == "run" and before[-1] == "--mode":
        return [mode for mode in ("full-refresh", "from=", "only=", "select=", "resume") if mode.startswith(last)], _NO_FILES
    return [], _NO_FILES


def main() -> int:
    """Answer kubectl."""
    try:
        found, directive = proposals(sys.argv[1:], Kubectl())
    except (CliError, FileNotFoundError):
        found, directive = [], _NO_FILES
    print("\n".join([*map(plain, found), f":{directive}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
