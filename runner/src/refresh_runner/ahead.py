"""`refresh-runner parse`: reads the dbt project once, so that no run has to; at the build of an image, or before tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refresh_api.order import ExitCode
from refresh_runner import artifacts, parsed
from refresh_runner.access import NOWHERE, Access
from refresh_runner.failures import RunFailedError
from refresh_runner.plan import DbtSettings
from refresh_runner.reading import reading

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_PLACES: Final = (
    (NOWHERE, "2000-01-31"),
    (Access(host="elsewhere", port=6543, dbname="another", user="somebody", password="unused, too"), "2031-12-01"),  # noqa: S106
)
"""Two warehouses that nobody connects to, and two dates."""


def read_ahead(project: Path, settings: DbtSettings, say: Callable[[str], None]) -> ExitCode:
    """Keep the project as it was read, if that holds for every warehouse and date; say what was found. FAILED if dbt can't read it."""
    path = parsed.place(project, settings)
    if path.exists():
        say(f"{project} is read already")
        return ExitCode.OK
    try:
        one, other = (_read(project, settings, access, as_of) for access, as_of in _PLACES)
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
        return ExitCode.FAILED
    parsed.move(other, NOWHERE.dbname)
    why = "it reads environment variables" if one.env_vars else parsed.difference(one, other)
    if why:
        say(f"{project} can be read, but the result holds for one warehouse or date alone, so every run will read it anew: {why}")
        return ExitCode.OK
    parsed.write(path, one)
    say(f"{project} is read: {len(one.nodes)} nodes, for every warehouse and date")
    return ExitCode.OK


def draw_docs(project: Path, settings: DbtSettings, say: Callable[[str], None]) -> ExitCode:
    """Keep the page of the project beside it, for the runs to store; FAILED if dbt can't read it."""
    if not artifacts.docs_place(project, artifacts.project_id(project)).exists():
        try:
            artifacts.write_docs(project, _read(project, settings, *_PLACES[0]))
        except RunFailedError as error:
            say(f"✗ {error.failure.message}")
            return ExitCode.FAILED
    say(f"the page of {project} is drawn")
    return ExitCode.OK


def _read(project: Path, settings: DbtSettings, access: Access, as_of: str) -> Manifest:
    further = DbtSettings(settings.threads, settings.target, settings.schema, {**settings.variables, parsed.AS_OF: as_of})
    with reading(project, further, "refresh-parse", access) as dbt:
        return dbt.manifest
