"""One dbt project on one warehouse: parse it, then build, test and query its nodes.

dbt is imported at first use. That takes a second, so `preload` imports it while the runner connects to the warehouse.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import Command, HookKind, NodeReuse, OnCompleted, OnLine, Outcome
from refresh_runner.dbt.graph import ProjectGraph, TableModel
from refresh_runner.dbt.in_process import InProcessEngine, preload
from refresh_runner.dbt.results import command_error, compiled_statements, node_results, source_results
from refresh_runner.dbt.test_templates import RenderContext, Statements
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import CommandResult, Node, NodeState
from refresh_runner.postgres.conninfo import ConnectionInfo

if TYPE_CHECKING:
    from pydantic import JsonValue

    from refresh_runner.dbt.lineage import ProjectLineage
    from refresh_runner.dbt.timings import TimedNode

_NO_TESTS: Final = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")


class Dbt:
    """One project on one warehouse. Not thread-safe, except for `shutdown`."""

    def __init__(
        self, project: Path, workdir: Path, access: ConnectionInfo, settings: DbtSettings, application_name: str, on_line: OnLine
    ) -> None:
        self.project = project
        self._settings = settings
        self._on_line = on_line
        self._engine = InProcessEngine(project, workdir, access, settings, application_name, on_line)
        self._graph: ProjectGraph | None = None
        # What is read after a run, on threads that time limits, is read by one thread at a time.
        self._reading = threading.Lock()

    @staticmethod
    def preload() -> threading.Thread:
        """Start importing dbt. Return the thread, which ends when dbt is imported."""
        return preload()

    def parse(self) -> None:
        """Parse the project. Raise RunFailedError with InvalidProject if dbt cannot parse it."""
        self._graph = ProjectGraph(self._engine.parse(), self.project)

    @property
    def graph(self) -> ProjectGraph:
        """Return the nodes of the parsed project."""
        if self._graph is None:
            raise RuntimeError("parse first")
        return self._graph

    def run(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Build models, seeds, snapshots and functions; no statement runs longer than `limit`. Raise CancelledError if cancelled."""
        flags = ("--full-refresh",) if self._settings.full_refresh else ()
        if all(node.id.startswith("model.") for node in nodes):
            return _command_result(nodes, self._engine.execute(Command("run", tuple(nodes), limit, flags)))
        # `run` builds only models; `build` also runs their tests, which are a separate step.
        return _command_result(nodes, self._engine.execute(Command("build", tuple(nodes), limit, (*flags, *_NO_TESTS))))

    def test(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Run tests; no statement runs longer than `limit`. Raise CancelledError if cancelled."""
        # dbt first creates the schemas of tests that store rows. If it lacks the privilege, all other tests still run.
        storing = self.graph.failure_relations(nodes)
        parts = [[node for node in nodes if (node.id in storing) is stores] for stores in (False, True)]
        results: list[CommandResult] = []
        completed: set[str] = set()
        for part in filter(None, parts):
            try:
                results.append(_command_result(part, self._engine.test(part, limit)))
            finally:
                self._engine.completed = completed = completed | self._engine.completed
        error = next((result.error for result in results if result.error), None)
        return CommandResult(tuple(each for result in results for each in result.nodes), error)

    def source_ages(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Return the ages of the sources; no statement runs longer than `limit`. Raise CancelledError if cancelled."""
        outcome = self._engine.execute(Command("source freshness", tuple(nodes), limit))
        return CommandResult(source_results(nodes, outcome), command_error(nodes, outcome))

    def run_start_hooks(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Run on-run-start for a run of these nodes, once their schemas exist; no statement runs longer than `limit`."""
        return self._run_hooks(HookKind.START, nodes, (), "", limit)

    def run_end_hooks(self, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> CommandResult:
        """Run on-run-end for a run of these nodes.

        `kept` nodes were built by an earlier attempt. `unpublished` says why the staged models are not live; empty if they are.
        """
        return self._run_hooks(HookKind.END, nodes, kept, unpublished, limit)

    def _run_hooks(self, kind: HookKind, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> CommandResult:
        return _command_result(self.graph.hooks(kind), self._engine.run_hooks(kind, nodes, kept, unpublished, limit))

    def statements(self, tests: Sequence[Node], limit: timedelta) -> dict[str, str]:
        """Return the statement of each data test by ID, with all columns if possible. Raise CancelledError if cancelled.

        Left out are tests that cannot be compiled, and tests with `store_failures: false`, whose rows must not be stored anywhere.
        """
        nodes = self.graph.manifest.nodes
        # Unit tests return no failing rows.
        storable = [test for test in tests if test.id in nodes and nodes[test.id].config.get("store_failures") is not False]
        if not storable:
            return {}
        outcome = self._engine.compile_tests(storable, limit)
        if error := command_error(storable, outcome):
            self._on_line("warn", error.message)
        return compiled_statements(outcome)

    def dry_run(self, tests: Sequence[Node]) -> Statements:
        """Return the statement that dbt would send for each of these tests, if it is a single one. Send nothing."""
        # A test that stores rows first queries the warehouse for its schema.
        storing = self.graph.failure_relations(tests)
        tests = [test for test in tests if test.id in self.graph.manifest.nodes and test.id not in storing]
        outcome, statements = self._engine.dry_run(tests)
        passed = {result.node.id for result in node_results(tests, outcome) if result.state is NodeState.OK}
        return {id_: statement for id_, statement in statements.items() if id_ in passed}

    def stage(self, table: TableModel, schema: str, note: str = "") -> None:
        """Build a model in this schema, where all references read it. `note` is a statement to execute after it is built.

        Raise RunFailedError if this version of dbt does not allow it.
        """
        self._engine.stage(table.id, schema, note)

    def reuse_nodes(self, reuse: NodeReuse) -> None:
        """Have this decide for each node whether it is reused. Call it after `parse`, before a model is staged."""
        self._engine.reuse_nodes(reuse)

    def ask(self, models: Sequence[Node], tests: Sequence[Node], limit: timedelta) -> dict[str, str]:
        """Have dbt compile these nodes and ask about each whether it is reused. Nothing is built: the answer must always be yes.

        Call it after `reuse_nodes`, if `asks_about_nodes`, without nodes that are `always_built`. Return the errors of nodes about which
        dbt could not ask, by ID.
        """
        with self._engine.only_asking():
            results = [self.run(models, limit)] if models else []
            results += [self.test(tests, limit)] if tests else []
        errors = {node.node.id: node.message for result in results for node in result.nodes if node.state is not NodeState.OK}
        for nodes, result in zip(filter(None, (models, tests)), results, strict=True):
            if result.error:
                errors |= {node.id: result.error.message for node in nodes if node.id not in errors}
        return errors

    def always_built(self, nodes: Sequence[Node]) -> dict[str, str]:
        """Return those of these nodes whose results are never reused, each with the reason. Call it after `reuse_nodes`."""
        return self._engine.always_built([node.id for node in nodes])

    def unstage(self, node_id: str) -> None:
        """Point a staged model to its live relation: it is reused."""
        self._engine.unstage(node_id)

    def stage_for_preview(self, models: Sequence[Node], schemas: Mapping[str, str]) -> list[str]:
        """Build these models in other schemas, mapped from their own. Return their hooks, which do not run: they could change anything.

        Raise RunFailedError if this version of dbt does not allow it.
        """
        return self._engine.stage_for_preview([model.id for model in models], schemas)

    @property
    def render_context(self) -> RenderContext:
        """Return the values by which this run's statements differ from those of other runs."""
        return self._engine.render_context

    @property
    def test_templates(self) -> Statements:
        """Return the templates of data tests that were stored when the project was parsed in advance, by ID."""
        return self._engine.test_templates

    @property
    def completed(self) -> set[str]:
        """Return the IDs of the nodes that the last command completed, even if it was stopped."""
        return self._engine.completed

    def set_session_settings(self, settings: Mapping[str, str]) -> None:
        """Set parameters at the start of each session in the warehouse, in addition to its timeouts."""
        self._engine.session_settings = settings

    def call_on_completed(self, on_completed: OnCompleted) -> None:
        """Call this with the ID of each node whose work is committed, on any thread. It must neither raise nor wait."""
        self._engine.on_completed = on_completed

    def run_results(self) -> Mapping[str, object] | None:
        """Return the content of run_results.json as if one command had built and tested all nodes of the run; None if there were none."""
        return self._engine.run_results()

    def lineage(self) -> ProjectLineage:
        """Return what dbt built and tested in this run, by live names; nothing if it did neither."""
        # here, so that runs without lineage do not import it
        from refresh_runner.dbt.lineage import ProjectLineage, assertions, built_nodes

        if (results := self.run_results()) is None:
            return ProjectLineage()
        with self._reading, self._engine.as_live():
            nodes = tuple(built_nodes(self.graph, results, self._engine.staged))
            return ProjectLineage(nodes, tuple(assertions(self.graph, results)))

    def timings(self) -> tuple[TimedNode, ...]:
        """Return when dbt built and tested the nodes of this run, by live names; nothing if it did neither."""
        # here, so that runs without traces do not import it
        from refresh_runner.dbt.timings import timed_nodes

        if (results := self.run_results()) is None:
            return ()
        with self._reading, self._engine.as_live():
            return tuple(timed_nodes(self.graph, results))

    def description(self) -> Mapping[str, JsonValue] | None:
        """Return what the project says about its nodes and exposures, by live names; None if it was not parsed."""
        # here, so that runs whose project is described already do not import it
        from refresh_runner.dbt.description import described

        if self._graph is None:
            return None
        with self._reading, self._engine.as_live():
            return described(self._graph)

    def manifest(self) -> Mapping[str, object] | None:
        """Return the content of manifest.json, with live names and what was compiled in this run; None if the project was not parsed."""
        if self._graph is None:
            return None
        with self._reading, self._engine.as_live():
            return self._engine.manifest_content()

    def shutdown(self) -> None:
        """Close all connections, whatever they wait for. Called from another thread than the one that waits."""
        self._engine.shutdown()


def _command_result(nodes: Sequence[Node], outcome: Outcome) -> CommandResult:
    return CommandResult(node_results(nodes, outcome), command_error(nodes, outcome))
