"""Write the reference of command lines from their argument parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from marked import page, table
from refresh_cli import __main__ as cli
from refresh_cli.arguments import parser as cli_parser
from refresh_runner.cli import parser as runner

ROOT = Path(__file__).resolve().parent.parent


def commands() -> str:
    """Return a page with every command and its options, and the targets of `make`."""
    made = re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert cli.__doc__
    codes = " ".join(cli.__doc__.partition("Exit codes: ")[2].split())
    parts = [
        page("Commands", "All commands with all options.", ""),
        f"## kubectl dashboardrefresh\n\nExit codes: {codes}\n\n{_command_line(cli_parser(), 'kubectl dashboardrefresh')}",
        "## refresh-runner\n\nIts exit codes: [](words.md#exit-codes-of-the-runner).\n",
        _command_line(runner.parser(), "refresh-runner"),
        "## make\n\n" + table(("command", "does"), [(f"`make {name}`", says) for name, says in made]),
    ]
    return "\n".join(parts)


def _command_line(parser: argparse.ArgumentParser, program: str) -> str:
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    known = {name: list(_arguments(command)) for name, command in commands.choices.items()}
    shared = [row for row in next(iter(known.values())) if all(row in rows for rows in known.values())]
    parts = [f"All commands take:\n\n{table(('option', 'means'), shared)}"] if shared else []
    for choice in commands._choices_actions:
        own = [row for row in known[choice.dest] if row not in shared]
        says = choice.help or ""
        parts.append(f"### {program} {choice.dest}\n\n{says[:1].upper()}{says[1:]}.\n\n{table(('argument', 'means'), own)}")
    return "\n".join(parts)


def _arguments(command: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or action.dest.upper()
        takes = (
            ""
            if action.nargs == 0 or not action.option_strings
            else f" {'|'.join(action.choices) if action.choices else action.dest.upper()}"
        )
        says = (action.help or "").replace("%(default)s", str(action.default))
        yield f"`{name}{takes}`" + (" (optional)" if action.nargs == "?" else ""), says
