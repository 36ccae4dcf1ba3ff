"""The work of earlier attempts that an attempt of the same run reuses."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from refresh_runner.dbt.documents import docs_path, project_id
from refresh_runner.dbt.project_files import project_files
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.runlog.queries import EarlierAttempts


@dataclass(frozen=True)
class Fingerprint:
    """Identifies what a run is built from."""

    value: str
    """Equal for two attempts if one may reuse the other's work."""
    project: str
    """Hash of the dbt project's files."""
    docs: Path
    """Path of the project's docs, if they were generated."""
    revision: str | None = None
    """Revision of the project, if it was fetched from a repository. Two revisions with the same files are the same project."""


@dataclass(frozen=True)
class ResumeState:
    """What earlier attempts of the run have built."""

    nodes: frozenset[str] = frozenset()
    """IDs of the nodes that need not be built again if their tables still exist."""
    restart_reason: str = ""
    """Why the work of earlier attempts cannot be reused; empty if there is none."""

    @property
    def is_resumed(self) -> bool:
        """Whether this attempt continues an earlier one."""
        return bool(self.nodes)


NO_RESUME: Final = ResumeState()


def resume_state(found: EarlierAttempts | None, fingerprint: str) -> ResumeState:
    """Return what can be reused of earlier attempts: nothing if the fingerprint differs or another run has held the lock since."""
    if found is None or not found.nodes:
        return NO_RESUME
    if found.fingerprint != fingerprint:
        return ResumeState(restart_reason="the run request, the project or the runner has changed since the earlier attempt")
    if found.other_run_since:
        return ResumeState(restart_reason="another run has held the warehouse since the earlier attempt")
    return ResumeState(frozenset(found.nodes))


def reusable_nodes(layers: Sequence[Sequence[Node]], done: Collection[str], gone: Collection[str]) -> frozenset[str]:
    """Return the nodes that need not be built again: those built in the layers before the first layer with a missing table.

    Rebuilding a table may drop relations that depend on it, so nothing in later layers is reused.
    """
    kept: set[str] = set()
    for layer in layers:
        recorded = {node.id for node in layer if node.id in done}
        if recorded & set(gone):
            break
        kept |= recorded
    return frozenset(kept)


def fingerprint_of(plan: Plan, project: Path) -> Fingerprint:
    """Return the fingerprint of a plan and its project, with the environment variables that the project reads."""
    variables = sorted((name, repr(value)) for name, value in plan.dbt.variables.items())
    program = programs()
    files = project_files(project)
    id_ = project_id(files)
    parts = (plan.run_request.model_dump_json(), repr(variables), id_, repr(files.environment(os.environ)), *program)
    return Fingerprint(sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest(), id_, docs_path(project, id_))


@cache
def programs() -> tuple[str, ...]:
    """Return the versions of dbt, and a hash of the runner's code."""
    return (*(version(name) for name in ("dbt-core", "dbt-postgres", "dbt-adapters", "dbt-common")), _program())


def _program() -> str:
    """Return a hash of the runner's code."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()
