"""What a further attempt of a run keeps of the work of earlier ones."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
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
    """What a run is made from."""

    value: str
    """What two attempts must have in common for one to keep the other's work."""
    project: str
    """Tells a dbt project from others, and from itself once it is changed."""
    docs: Path
    """Where the project's page is, if it was drawn."""


@dataclass(frozen=True)
class ResumeState:
    """Work of earlier attempts."""

    nodes: frozenset[str] = frozenset()
    """Ids of the nodes that need not be done again, as far as their tables are still there."""
    restart_reason: str = ""
    """Why earlier work counts for nothing, where there is some."""

    @property
    def is_resumed(self) -> bool:
        """This attempt goes on where the last one ended."""
        return bool(self.nodes)


NO_RESUME: Final = ResumeState()


def resume_state(found: EarlierAttempts | None, fingerprint: str) -> ResumeState:
    """Return what can be kept of what earlier attempts left: nothing, once anything is different or anybody else was at work."""
    if found is None or not found.nodes:
        return NO_RESUME
    if found.fingerprint != fingerprint:
        return ResumeState(restart_reason="the run request, the project or the runner has changed since the earlier attempt")
    if found.other_run_since:
        return ResumeState(restart_reason="another run has held the warehouse since the earlier attempt")
    return ResumeState(frozenset(found.nodes))


def reusable_nodes(layers: Sequence[Sequence[Node]], done: Collection[str], gone: Collection[str]) -> frozenset[str]:
    """Return the nodes that need not be built again: those done in the layers before the first one that has lost a table.

    What is built anew may take down what hangs on it, so nothing after that layer is kept.
    """
    kept: set[str] = set()
    for layer in layers:
        recorded = {node.id for node in layer if node.id in done}
        if recorded & set(gone):
            break
        kept |= recorded
    return frozenset(kept)


def fingerprint_of(plan: Plan, project: Path) -> Fingerprint:
    """Return what a run of the plan with this project is made from, in this process's environment: dbt looks up variables there."""
    variables = sorted((name, repr(value)) for name, value in plan.dbt.variables.items())
    program = (version("dbt-core"), version("dbt-postgres"), _program())
    files = project_files(project)
    id_ = project_id(files)
    parts = (plan.run_request.model_dump_json(), repr(variables), id_, repr(files.environment(os.environ)), *program)
    return Fingerprint(sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest(), id_, docs_path(project, id_))


def _program() -> str:
    """Return a hash of the runner itself."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()
