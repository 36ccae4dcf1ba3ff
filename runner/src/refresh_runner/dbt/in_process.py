"""dbt-core, called in this process: one import and one parse for any number of commands."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from refresh_runner.dbt import manifest_cache
from refresh_runner.dbt.candidates import Candidates
from refresh_runner.dbt.engine import Candidate, Command, HookKind, NodeOutcome, NodeReuse, OnCompleted, OnLine, Outcome
from refresh_runner.dbt.errors import error_text, invalid_project, one_line
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.nodes import functions_of, restoring_foreign_keys
from refresh_runner.dbt.output import Lines
from refresh_runner.dbt.patches import data_tests, dry_run, unit_test_reuse
from refresh_runner.dbt.patches.behavior_flags import skip_stack_walks
from refresh_runner.dbt.patches.code_generation import delay_code_generation
from refresh_runner.dbt.patches.compile_errors import continue_after_errors
from refresh_runner.dbt.patches.connections import Connections
from refresh_runner.dbt.patches.debug_events import skip_debug_events
from refresh_runner.dbt.patches.garbage_collection import no_collections
from refresh_runner.dbt.patches.hooks import only_hooks, results_for_hooks, without_hooks
from refresh_runner.dbt.patches.invocation import Invocation
from refresh_runner.dbt.patches.json_schemas import cache_json_schemas
from refresh_runner.dbt.patches.node_reuse import asking, without_schemas
from refresh_runner.dbt.patches.plugin_search import cache_plugin_search
from refresh_runner.dbt.patches.registry import require_patches
from refresh_runner.dbt.patches.select_only import select_only
from refresh_runner.dbt.patches.staging import Staging
from refresh_runner.dbt.patches.strict_selection import empty_selections_fail
from refresh_runner.dbt.patches.template_cache import cache_templates
from refresh_runner.dbt.patches.unit_test_reuse import asking_unit_tests
from refresh_runner.dbt.profile import environment, write_profile
from refresh_runner.dbt.results import rows_written
from refresh_runner.dbt.selectors import select_arguments
from refresh_runner.dbt.test_templates import RenderContext, Statements
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import Node
from refresh_runner.postgres.conninfo import PLACEHOLDER, ConnectionInfo

if TYPE_CHECKING:
    from dbt.artifacts.schemas.freshness import SourceFreshnessResult
    from dbt.artifacts.schemas.run import RunResult
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ManifestNode, UnitTestNode

_QUIET: Final = (
    *("--quiet", "--no-print", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-send-anonymous-usage-stats", "--no-write-json", "--cache-selected-only"),
)
_BUILDING: Final = frozenset({"run", "build", "test"})
_TABLES: Final = frozenset({"model", "seed", "snapshot"})
_DRY_RUN_LIMIT: Final = timedelta(hours=1)
_importing: Final = threading.Lock()


class InProcessEngine:
    """dbt-core through its `dbtRunner`, with the patches in `patches/`."""

    def __init__(
        self, project: Path, workdir: Path, access: ConnectionInfo, settings: DbtSettings, application_name: str, on_line: OnLine
    ) -> None:
        self._project = project
        self._workdir = workdir
        self._access = access
        self._settings = settings
        self._application_name = application_name
        self._on_line = on_line
        self._manifest: Manifest | None = None
        self._staging = Staging()
        self._connections = Connections()
        self._invocation = Invocation()
        self._results: dict[str, RunResult] = {}
        """dbt's last result for each node that it built or tested."""
        self.test_templates: Statements = {}
        """Templates of the data tests that were compiled when the project was parsed in advance, by ID."""
        self.session_settings: Mapping[str, str] = {}
        self.on_completed: OnCompleted = lambda _id: None
        self.completed: set[str] = set()
        self._reuse: NodeReuse | None = None
        self._candidates: Candidates | None = None

    def parse(self) -> Manifest:
        """Parse the project. Raise RunFailedError with InvalidProject if dbt cannot parse it."""
        write_profile(self._project, self._workdir, self._access, self._settings)
        import_dbt()
        require_patches()
        ahead = manifest_cache.path(self._project, self._settings)
        # A full parse leaves enough garbage to be worth a collection.
        with no_collections() if ahead.is_file() else nullcontext():
            if ahead.is_file():
                self._read_ahead(ahead)
            # If it is given a manifest, the command parses nothing and only initializes dbt.
            outcome = self._invoke(["parse"])
        from dbt.contracts.graph.manifest import Manifest

        if not outcome.success or not isinstance(outcome.result, Manifest):
            raise invalid_project(error_text(outcome.exception))
        self._manifest = outcome.result
        return self._manifest

    def _read_ahead(self, path: Path) -> None:
        try:
            self._manifest, self.test_templates = manifest_cache.read(path, self._access.dbname, PLACEHOLDER.dbname)
        except (ValueError, KeyError, TypeError) as error:
            self._on_line("warn", f"{path.name} cannot be used, so dbt parses the project: {error}")

    def reuse_nodes(self, reuse: NodeReuse) -> None:
        """Have this decide for each node whether it is reused. Call it after `parse`, before a model is staged."""
        self._reuse, self._candidates = reuse, Candidates(self.manifest)

    def unstage(self, node_id: str) -> None:
        """Point a staged model to its live relation: it is reused."""
        self._staging.take_back(node_id)

    def always_built(self, ids: Sequence[str]) -> dict[str, str]:
        """Return those of these models and tests whose results are never reused, each with the reason."""
        found = {id_: self._candidate(node).unfit for id_ in ids if (node := self.manifest.nodes.get(id_))}
        found |= {id_: "functions are always built" for id_ in ids if id_ in functions_of(self.manifest)}
        if not unit_test_reuse.PATCH.is_on:
            found |= {id_: "the patch unit_test_reuse of dbt is off" for id_ in ids if id_ in self.manifest.unit_tests}
        return {id_: why for id_, why in found.items() if why}

    @contextmanager
    def only_asking(self) -> Iterator[None]:
        """Have commands inside the block only ask about nodes, which must all be reused. PostgreSQL refuses to change anything for them."""
        before = self.session_settings
        self.session_settings = {**before, "default_transaction_read_only": "on"}
        try:
            with without_schemas():
                yield
        finally:
            self.session_settings = before

    def execute(self, command: Command) -> Outcome:
        """Execute a command. Raise KeyboardInterrupt if it is stopped."""
        with without_hooks(), asking(self._reuse, self._candidate), asking_unit_tests(self._reuse, self._candidate):
            return self._execute(command)

    def _candidate(self, node: ManifestNode | UnitTestNode) -> Candidate:
        if self._candidates is None:
            raise RuntimeError("reuse_nodes first")
        return self._candidates.of(node, self._staging.names)

    def run_hooks(self, kind: HookKind, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> Outcome:
        """Run the project's hooks of one kind for a run of these nodes; `kept` nodes were built by an earlier attempt."""
        results: list[RunResult] = []
        if kind is HookKind.END:
            reasons = dict.fromkeys(self._staging.ids, unpublished) if unpublished else {}
            results = results_for_hooks(self.manifest, nodes, kept, self._results, reasons)
        flags = ("--full-refresh",) if self._settings.full_refresh else ()
        with only_hooks(kind, results), self._staging.as_live():
            outcome = self._execute(Command("build", tuple(nodes), limit, flags))
        # dbt does not name the connection of hooks after a hook.
        executed = outcome.results and tuple(replace(each, sqlstate=outcome.sqlstate) for each in outcome.results)
        return replace(outcome, results=executed)

    def test(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Run tests, using stored statements for those that were compiled in advance."""
        context, statements = self.render_context, {}
        if data_tests.PATCH.is_on and context.can_render:
            stored = ((test.id, self.test_templates.get(test.id)) for test in tests)
            statements = {id_: context.render(template) for id_, template in stored if template is not None}
        # Only compiling uses dbt's cache of relations.
        flags = ("--no-populate-cache",) if all(test.id in statements for test in tests) else ()
        with data_tests.preload(statements):
            return self.execute(Command("test", tuple(tests), limit, flags))

    def compile_tests(self, tests: Sequence[Node], limit: timedelta) -> Outcome:
        """Compile tests to statements that return all columns of the failing rows, as far as their macros allow."""
        from dbt.contracts.graph.nodes import CompiledNode

        nodes = self.manifest.nodes
        before = {test.id: nodes[test.id] for test in tests}
        # dbt's own tests select all columns only if their rows are to be stored. Copies leave what dbt has compiled unchanged.
        for test in tests:
            nodes[test.id] = wide = copy.deepcopy(before[test.id])
            wide.config["store_failures"] = True
            if isinstance(wide, CompiledNode):
                # Otherwise the CTEs of ephemeral models would be injected twice.
                wide.extra_ctes_injected, wide.extra_ctes = False, []
        try:
            with continue_after_errors():
                return self._execute(Command("compile", tuple(tests), limit, ("--no-populate-cache",)))
        finally:
            nodes.update(before)

    def dry_run(self, tests: Sequence[Node]) -> tuple[Outcome, Statements]:
        """Return the statement that dbt would send for each of these tests, if it is a single one. Send nothing."""
        # Copies, because dbt changes the nodes that it runs.
        before = copy.deepcopy(self.manifest.nodes)
        try:
            with dry_run.DryRun.recording() as recorded:
                outcome = self.execute(Command("test", tuple(tests), _DRY_RUN_LIMIT, ("--no-populate-cache",)))
        finally:
            self.manifest.nodes = before
        return outcome, recorded.statements

    def stage(self, node_id: str, schema: str, note: str = "") -> None:
        """Build a model in this schema, where all references read it. `note` is a statement to execute after the model is built."""
        from dbt.artifacts.resources.v1.config import Hook
        from dbt.contracts.graph.nodes import ModelNode

        node = self.manifest.nodes[node_id]
        self._staging.put(node, schema, Names(self.manifest), note)
        if note and isinstance(node, ModelNode):
            node.config.post_hook = [Hook(f"{{% raw %}}{note}{{% endraw %}}"), *node.config.post_hook]

    def stage_for_preview(self, ids: Sequence[str], schemas: Mapping[str, str]) -> list[str]:
        """Build these nodes in other schemas, mapped from their own, without hooks and without creating live schemas. Return the hooks.

        No test stores the rows that it finds, which would be in a schema that is not the preview's.
        """
        from dbt.artifacts.resources.v1.config import TestConfig

        self._staging.creates_live_schemas = False
        for config in (node.config for node in self.manifest.nodes.values()):
            if isinstance(config, TestConfig):
                config.store_failures, config.store_failures_as = False, "ephemeral"
        hooks = []
        for id_ in ids:
            node = self.manifest.nodes[id_]
            for kind in ("pre_hook", "post_hook"):
                hooks += [f"{node.name}: {each.sql.strip()}" for each in getattr(node.config, kind, None) or ()]
                setattr(node.config, kind, [])
            self._staging.put(node, schemas[node.schema], Names(self.manifest))
        return hooks

    @property
    def render_context(self) -> RenderContext:
        """Return the values by which this run's statements differ from those of other runs."""
        return RenderContext(self._access.dbname, str(self._settings.variables.get(manifest_cache.AS_OF, "")), self._staging.names)

    @property
    def manifest(self) -> Manifest:
        """Return the parsed project."""
        if self._manifest is None:
            raise RuntimeError("parse first")
        return self._manifest

    def run_results(self) -> Mapping[str, object] | None:
        """Return the content of run_results.json as if one command had built and tested all nodes of the run; None if there were none."""
        found = list(self._results.values())
        if not found:
            return None
        from dbt.artifacts.schemas.run import RunResultsArtifact

        whole: Mapping[str, object] = RunResultsArtifact.from_execution_results(
            results=found,
            elapsed_time=sum(each.execution_time for each in found),
            generated_at=datetime.now(UTC).replace(tzinfo=None),
            args={"vars": {}, "invocation_command": "refresh-runner run"},
        ).to_dict(omit_none=False)
        return whole

    def manifest_content(self) -> Mapping[str, object]:
        """Return the content of manifest.json, as dbt would write it now."""
        content: Mapping[str, object] = self.manifest.writable_manifest().to_dict(omit_none=False)
        return content

    def as_live(self) -> AbstractContextManager[None]:
        """Point all models to their live relations inside the block, also those that were built in staging schemas."""
        return self._staging.as_live()

    @property
    def staged(self) -> frozenset[str]:
        """Return the IDs of the models that are built in staging schemas."""
        return self._staging.ids

    def shutdown(self) -> None:
        """Close all connections to the warehouse and open no new ones. Called from another thread than the one that waits."""
        self._connections.hang_up()

    def _execute(self, command: Command) -> Outcome:
        ids = [node.id for node in command.nodes]
        self._connections.clear()
        self._connections.settings = {**self.session_settings, **_time_outs(command.limit)}
        with (
            select_only(ids),
            restoring_foreign_keys(self.manifest.nodes[id_] for id_ in ids if id_ in self.manifest.nodes),
            _restoring_flags(),
        ):
            answer = self._invoke([command.name, *select_arguments(self.manifest, ids), *command.flags])
        return outcome_of(answer, self._connections)

    def _invoke(self, command: list[str]) -> dbtRunnerResult:
        import_dbt()
        from dbt.cli.main import dbtRunner

        places = [
            *("--project-dir", str(self._project), "--profiles-dir", str(self._workdir)),
            *("--target-path", str(self._workdir / "target"), "--log-path", str(self._workdir / "logs")),
            # dbt reads it as YAML, which lacks JSON's escapes for emoji and reads 1e-07 as text.
            *("--vars", yaml.safe_dump(dict(self._settings.variables), default_flow_style=True, width=math.inf)),
        ]
        is_building = command[0] in _BUILDING
        # While parsing and compiling, only warnings matter, and a node that is only compiled is not completed.
        on_completed = self.on_completed if is_building else lambda _id: None
        with ExitStack() as stack:
            least = "info" if is_building else "warn"
            lines = stack.enter_context(Lines(self._on_line, least, on_completed, self._models_in_batches()))
            for each in self._around_commands():
                stack.enter_context(each)
            self.completed = lines.completed
            outcome = dbtRunner(self._manifest, [lines.take]).invoke([*_QUIET, *command[0].split(), *places, *command[1:]])
        if isinstance(outcome.exception, KeyboardInterrupt):
            raise outcome.exception
        if is_building:
            self._results |= {each.node.unique_id: each for each in getattr(outcome.result, "results", None) or ()}
        return outcome

    def _models_in_batches(self) -> frozenset[str]:
        nodes = self._manifest.nodes.values() if self._manifest else ()
        return frozenset(node.unique_id for node in nodes if node.config.get("incremental_strategy") == "microbatch")

    def _around_commands(self) -> Sequence[AbstractContextManager[None]]:
        return (
            environment(self._access, self._application_name),
            self._invocation.shared(),
            empty_selections_fail(),
            self._staging.applied(),
            self._connections.watched(),
        )


def outcome_of(answer: dbtRunnerResult, connections: Connections) -> Outcome:
    """Return dbt's result for a command as plain values, with the SQLSTATEs seen on its connections."""
    executed = getattr(answer.result, "results", None)
    convert: Callable[..., NodeOutcome] = _node_outcome
    results = None if executed is None else tuple(convert(each, connections) for each in executed)
    if answer.exception:
        return Outcome(answer.success, results, error_text(answer.exception), True, connections.worst)
    # A command that fails at its first error returns the result of that node alone.
    message = getattr(answer.result, "message", None)
    return Outcome(answer.success, results, one_line(str(message)) if message else None, False, connections.worst)


def _node_outcome(result: RunResult | SourceFreshnessResult, connections: Connections) -> NodeOutcome:
    node, loaded = result.node, getattr(result, "max_loaded_at", None)
    code = getattr(node, "compiled_code", None)
    return NodeOutcome(
        node.unique_id,
        node.name,
        str(result.status),
        one_line(result.message or ""),
        result.execution_time,
        connections.sqlstate(node.unique_id),
        str(code) if code else None,
        # dbt reports a source without any date as loaded in the year 1.
        None if loaded is None or loaded.year == 1 else timedelta(seconds=max(getattr(result, "age", 0), 0)),
        str(node.resource_type) == "operation",
        rows_written(result.adapter_response) if str(node.resource_type) in _TABLES else None,
    )


@contextmanager
def _restoring_flags() -> Iterator[None]:
    """Restore dbt's global flags afterwards: the runner's selections follow the flags of the project, not of the last command."""
    from dbt.flags import get_flags, set_flags

    flags = get_flags()  # type: ignore[no-untyped-call]  # dbt states no types here
    try:
        yield
    finally:
        set_flags(flags)  # type: ignore[no-untyped-call]  # dbt states no types here


def _time_outs(limit: timedelta) -> dict[str, str]:
    """Return PostgreSQL's settings. The lock timeout is shorter than the statement timeout, so that the error names the lock."""
    milliseconds = max(int(limit.total_seconds() * 1000), 1000)
    return {"statement_timeout": str(milliseconds), "lock_timeout": str(milliseconds // 2)}


def preload() -> threading.Thread:
    """Start importing dbt, which takes a second. Return the thread, which ends when dbt is imported."""
    thread = threading.Thread(target=import_dbt, name="import-dbt", daemon=True)
    thread.start()
    return thread


def import_dbt() -> None:
    """Import dbt, and apply the patches that last for the lifetime of the process."""
    # If two threads call this, one imports and the other waits: a patch must not be applied twice.
    with _importing:
        _import_once()


@cache
def _import_once() -> None:
    delay_code_generation()
    with no_collections():
        import dbt.adapters.postgres
        import dbt.cli.main  # noqa: F401 - the import is the point

    cache_json_schemas()
    skip_stack_walks()
    skip_debug_events()
    cache_templates()
    cache_plugin_search()
