"""Shell completion: kubectl runs `kubectl_complete-dashboardrefresh WORDS…`, which prints one proposal per line, then a directive."""

import sys
from collections.abc import Sequence

from refresh_api.plain import plain
from refresh_cli.arguments import HELP
from refresh_cli.kubectl import CliError, Kubectl

_NO_FILES = 4
_FILES = 0


def proposals(words: Sequence[str], kubectl: Kubectl) -> tuple[list[str], int]:
    """Return completions of the last word, and the directive for the shell (Cobra's ShellCompDirective)."""
    *before, last = words or [""]
    arguments = [word for word in before if not word.startswith("-")]
    if not arguments:
        return [f"{name}\t{summary}" for name, summary in HELP.items() if name.startswith(last)], _NO_FILES
    if arguments[0] == "lint":
        return [], _FILES
    if len(arguments) == 1:
        return [name for name in kubectl.names() if name.startswith(last)], _NO_FILES
    if arguments[0] == "run" and before[-1] == "--mode":
        return [mode for mode in ("full-refresh", "from=", "only=", "select=", "resume") if mode.startswith(last)], _NO_FILES
    return [], _NO_FILES


def main() -> int:
    """Print completions for the words on the command line."""
    try:
        found, directive = proposals(sys.argv[1:], Kubectl())
    except (CliError, FileNotFoundError):
        found, directive = [], _NO_FILES
    print("\n".join([*map(plain, found), f":{directive}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
