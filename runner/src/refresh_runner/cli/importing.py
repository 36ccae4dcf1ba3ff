"""`refresh-runner import`: prints a DashboardRefresh that does what a schedule of another tool does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from refresh_api.plain import plain
from refresh_api.run_request import ExitCode
from refresh_runner.importers.airflow import airflow
from refresh_runner.importers.dagster import dagster
from refresh_runner.importers.dbt_platform import dbt_platform
from refresh_runner.importers.description import Description, Overrides, UnreadableError
from refresh_runner.importers.kubernetes import cronjob, dagctl_dbt
from refresh_runner.importers.manifest import manifest

_MAX_BYTES: Final = 1024 * 1024
"""Maximum number of bytes of a file."""
_ONE_FILE: Final[Mapping[str, Callable[[bytes, str, Overrides], Description]]] = {
    "cronjob": cronjob,
    "dagctl-dbt": dagctl_dbt,
}

_FILES: Final[Mapping[str, Callable[[Mapping[str, bytes], Overrides], Description]]] = {
    "airflow": airflow,
    "dagster": dagster,
    "dbt-platform": dbt_platform,
}
"""Sources that may be in several files."""


def import_command(source: str, files: Sequence[Path], overrides: Overrides, output: Path | None) -> ExitCode:
    """Print the refresh, or write it to a file. Return FAILED if none can be made of the source; then nothing is written."""
    try:
        text = manifest(_described(source, files, overrides), overrides)
        if output is None:
            print(plain(text), end="")
        else:
            output.write_text(text)
    except UnreadableError as error:
        print(plain(f"✗ {', '.join(map(str, files))}: {error}"), file=sys.stderr)
        return ExitCode.FAILED
    except OSError as error:
        print(plain(f"✗ cannot write {output}: {error.strerror}"), file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.OK


def _described(source: str, files: Sequence[Path], overrides: Overrides) -> Description:
    contents = {("standard input" if str(file) == "-" else str(file)): _read(file) for file in files}
    if source in _FILES:
        try:
            return _FILES[source](contents, overrides)
        except RecursionError:
            raise UnreadableError("is nested too deeply") from None
    if len(files) != 1:
        raise UnreadableError(f"{source} takes one file")
    ((name, content),) = contents.items()
    return _ONE_FILE[source](content, name, overrides)


def _read(file: Path) -> bytes:
    """Return the content of a file, or of standard input for `-`."""
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise UnreadableError(f"is longer than {_MAX_BYTES} bytes")
    return content
