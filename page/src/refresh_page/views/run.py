"""Builds the page of one run: its steps, what failed, its artifacts, and commands to investigate further."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.models import FAILING_ROWS, RUN_LOG, RunLogState, RunRows
from refresh_page.runlog.project import Project
from refresh_page.views.affected import FAILED, affected_by
from refresh_page.views.graph import graph_of
from refresh_page.views.log_lines import last_lines
from refresh_page.views.run_models import Artifact, Node, Rows, RunView
from refresh_page.views.run_source import RunSource, node_view

_FAILING_ROWS_FILE: Final = TypeAdapter(dict[str, Rows])


def run_view(
    ref: Ref,
    run: str,
    refresh: Refresh | None,
    rows: RunRows | None,
    log_state: RunLogState,
    now: datetime,
    files: Mapping[str, str],
    project: Project | None = None,
) -> RunView:
    """Return the page of a run that the status or the run log contains.

    `files` are the contents of its artifacts by name, as far as the page displays them.
    """
    source = RunSource(refresh)
    summary, progress, finished = source.summary(run, rows), source.progress(run), source.finished(run)
    end = summary.completion_time or now
    start = summary.start_time or end
    steps = source.steps(run, rows, start, now)
    return RunView(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        run=summary,
        image=finished.image if finished else None,
        project=progress.project if progress else None,
        generation=finished.generation if finished else progress.generation if progress else None,
        pod=(rows.run.pod if rows else None) or (progress.pod if progress else None),
        version=progress.version if progress else None,
        length=max(1.0, (end - start).total_seconds(), *((step.start or 0.0) + (step.seconds or 0.0) for step in steps)),
        steps=steps,
        failures=_failures(rows, start, files.get(FAILING_ROWS, "{}")) if rows else (),
        affected=affected_by(project, [node.node_id for node in rows.nodes if node.state in FAILED]) if rows else (),
        graph=graph_of(rows.nodes) if rows else None,
        marts=source.marts(run, rows),
        tests=progress.tests if progress else None,
        endpoints=tuple(progress.endpoints) if progress else (),
        notifications=tuple(progress.notifications) if progress else (),
        artifacts=tuple(Artifact(name=each.name, media_type=each.media_type, size=each.size) for each in rows.artifacts) if rows else (),
        log_tail=last_lines(files.get(RUN_LOG, "")),
        commands=_commands(ref, run),
        previous=(rows.previous or None) if rows else None,
        log_state=log_state,
    )


def _failures(rows: RunRows, start: datetime, failing_rows: str) -> tuple[Node, ...]:
    """Return nodes that failed, then tests that warn and have rows to show. `failing_rows` is JSON: a list of rows by test."""
    try:
        by_test = _FAILING_ROWS_FILE.validate_json(failing_rows)
    except ValidationError:
        by_test = {}
    failed = [node for node in rows.nodes if node.state in FAILED]
    warned = [node for node in rows.nodes if node.state == "warned" and by_test.get(node.node)]
    return tuple(node_view(node, start).model_copy(update={"rows": by_test.get(node.node, ())}) for node in (*failed, *warned))


def _commands(ref: Ref, run: str) -> tuple[str, ...]:
    where, name = f"-n {shlex.quote(ref.namespace)}", shlex.quote(ref.name)
    return (
        f"kubectl {where} logs job/{shlex.quote(run)}",
        f"kubectl {where} describe dashboardrefresh {name}",
        f"kubectl dashboardrefresh status {name} {where}",
        f"kubectl dashboardrefresh run {name} --wait {where}",
    )
