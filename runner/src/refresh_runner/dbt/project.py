"""The door to dbt: one process, one parse, our own profile; results as plain values.

dbt is imported on first use, since that takes a second which `preload` lets overlap with the connection to the warehouse.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from refresh_api.status import Reason
from refresh_runner.core.errors import LINT_HINT, Failure, RunFailedError
from refresh_runner.dbt import manifest_cache
from refresh_runner.dbt.live_references import detours
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.patches.compiled_tests import Rehearsal, Scene, Statements, known
from refresh_runner.dbt.patches.connections import Connections
from refresh_runner.dbt.patches.flags import empty_selections_fail
from refresh_runner.dbt.patches.hooks import HookKind, hooks_of, only_hooks, results_for_hooks, without_hooks
from refresh_runner.dbt.patches.invocation import Invocation
from refresh_runner.dbt.patches.lazy_classes import spare_code_generation, spare_schemas
from refresh_runner.dbt.patches.node_selection import (
    exactly,
    node_of,
    parents,
    references_kept,
    selected,
    spare_compilations,
    spare_debug_events,
    spare_searches,
    spare_stack_walks,
    spared_collections,
)
from refresh_runner.dbt.patches.patch import changed
from refresh_runner.dbt.patches.staging import Aside
from refresh_runner.dbt.results import Lines, OnDone, OnLine, ages_of, error_text, node_results, problem_of, statements_of
from refresh_runner.dbt.selectors import select_arguments
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import CommandResult, Node, NodeState
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.conninfo import NOWHERE, Access
from refresh_runner.postgres.data_version import TrackedRelations

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunResult
    from dbt.cli.main import dbtRunnerResult
    from dbt.config.runtime import RuntimeConfig
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import GenericTestNode, ManifestNode, SingularTestNode, SourceDefinition

    from refresh_runner.dbt.patches.node_selection import AnyNode

PASSWORD_VARIABLE: Final = "DBT_ENV_SECRET_WAREHOUSE_PASSWORD"  # noqa: S105 - a name
"""The prefix has dbt keep the value out of its logs."""

_QUIET: Final = (
    *("--quiet", "--no-print", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-send-anonymous-usage-stats", "--no-write-json", "--cache-selected-only"),
)
_importing: Final = threading.Lock()
_BUILT: Final = frozenset({"model", "seed", "snapshot"})
_BUILDING: Final = frozenset({"run", "build", "test"})
_CONNECT_TIMEOUT: Final = 5
_KEEPALIVES_IDLE: Final = 60
_CONNECT_RETRIES: Final = 1
"""Few: a node whose connection fails is tried again by its step, and a run that must end may not wait for more."""


@dataclass(frozen=True)
class Upstream:
    """A model that a selected one reads, or a function that it calls, and that this refresh does not build."""

    needed_by: str
    relation: Relation
    built_by: str | None
    is_function: bool = False


@dataclass(frozen=True)
class TableModel:
    """A model that dbt makes anew, as a table, in every run."""

    id: str
    grants_stated: bool
    """Whether the project states who may read it."""
    observe_inputs: Mapping[str, Relation]
    """Models of the same run that read it, by name, and where they are built."""
    texts_stated: bool = False
    """Whether its descriptions are to be comments in the warehouse."""


class Dbt:
    """One project on one warehouse. Not for threads, as dbtRunner is not."""

    def __init__(self, project: Path, workdir: Path, access: Access, settings: DbtSettings, application_name: str, on_line: OnLine) -> None:
        self.project = project
        self._workdir = workdir
        self._access = access
        self._settings = settings
        self._application_name = application_name
        self._on_line = on_line
        self._manifest: Manifest | None = None
        self.tests_known: Statements = {}
        """The statements of data tests that were kept when the project was read ahead, by id."""
        self._aside = Aside()
        self._connections = Connections()
        self._invocation = Invocation()
        self.session_settings: Mapping[str, str] = {}
        """What PostgreSQL is told at the start of each session, beside its time-outs."""
        self.on_done: OnDone = lambda _id: None
        self.done: set[str] = set()
        """Ids of the nodes that the last command brought to a good end, also where it was stopped."""
        self.results: dict[str, RunResult] = {}
        """What dbt said last of each node that it built or tested."""

    @staticmethod
    def preload() -> threading.Thread:
        """Begin to import dbt; the thread ends when it is there."""
        thread = threading.Thread(target=_import_dbt, name="import-dbt", daemon=True)
        thread.start()
        return thread

    def parse(self) -> None:
        """Read the project; RunFailedError with InvalidProject says what is wrong in it."""
        self._write_profile()
        _import_dbt()
        ahead = manifest_cache.place(self.project, self._settings)
        # Reading anew leaves enough behind to be collected.
        with spared_collections() if ahead.is_file() else nullcontext():
            if ahead.is_file():
                self._manifest, self.tests_known = manifest_cache.read(ahead, self._access.dbname, NOWHERE.dbname)
            # What is at hand already is not read anew; the command then only makes dbt ready.
            outcome = self._invoke(["parse"])
        from dbt.contracts.graph.manifest import Manifest

        if not outcome.success or not isinstance(outcome.result, Manifest):
            raise _project_error(error_text(outcome.exception))
        self._manifest = outcome.result

    def folders(self) -> set[str]:
        """Return where dbt reads the project's files and those of its packages, without links; dbt's own macros are left out."""
        from dbt.adapters.factory import get_include_paths

        own = {os.path.realpath(path) for path in get_include_paths(self._config.credentials.type)}
        found: set[str] = set()
        for each in self._config.load_dependencies().values():
            if (root := os.path.realpath(each.project_root)) not in own:
                folders = {*each.all_source_paths, *each.docs_paths}
                found |= {root, *(os.path.realpath(Path(root, folder)) for folder in folders)}
        return found

    def environment(self) -> list[str]:
        """Return the environment variables that the project's reading has asked for."""
        projects = self._config.load_dependencies().values()
        return sorted({*self.manifest.env_vars, *(name for each in projects for name in each.project_env_vars)})

    def written_settings(self) -> Iterator[tuple[str, object]]:
        """Yield the contents of the project's YAML files as they are written, by their names; without those that came with dbt."""
        from dbt.adapters.factory import get_adapter_package_names
        from dbt.contracts.files import SchemaSourceFile

        own = set(get_adapter_package_names(self._config.credentials.type))
        for name, each in self._config.load_dependencies().items():
            if name not in own:
                yield f"dbt_project.yml of {name}", each.unrendered.project_dict
                yield f"selectors.yml of {name}", each.unrendered.selectors_dict
        for file in self.manifest.files.values():
            if isinstance(file, SchemaSourceFile):
                yield file.path.original_file_path, file.dict_from_yaml

    def data_tests(self, selection: Selection) -> dict[Node, SingularTestNode | GenericTestNode]:
        """Return the data tests that a selection takes, as dbt has them; RunFailedError if one of its selectors takes none."""
        from dbt.contracts.graph.nodes import GenericTestNode, SingularTestNode

        found = {test: self.manifest.nodes.get(test.id) for test in self.tests(selection)}
        return {test: node for test, node in found.items() if isinstance(node, SingularTestNode | GenericTestNode)}

    @property
    def _config(self) -> RuntimeConfig:
        from dbt.adapters.factory import get_adapter_by_type

        found: RuntimeConfig = get_adapter_by_type("postgres").config  # type: ignore[no-untyped-call]  # dbt states no types here
        return found

    def models(self, selection: Selection) -> tuple[Node, ...]:
        """Return the models, seeds, snapshots and functions that a selection takes; RunFailedError if one of its selectors takes none."""
        return self._nodes(selection, ("model", "seed", "snapshot", "function"))

    def buildable(self, selection: Selection) -> tuple[Node, ...]:
        """Return the same, for a layer; RunFailedError too if dbt can't build one of them on PostgreSQL."""
        found = self.models(selection)
        refused = {id_ for id_, node in self.manifest.nodes.items() if str(node.resource_type) == "model" and node.language == "python"}
        if in_python := [node.name for node in found if node.id in refused]:
            message = f"{in_python[0]} is a Python model, which dbt can't run on PostgreSQL"
            hint = f"write it in SQL, or leave it out of the layer: exclude: [{', '.join(in_python)}]"
            raise _project_error(f"{message}: {hint}", hint)
        return found

    def tests(self, selection: Selection) -> tuple[Node, ...]:
        """Return the data tests and unit tests that a selection takes; RunFailedError if one of its selectors takes none."""
        return self._nodes(selection, ("test", "unit_test"))

    def unit_tests(self, models: Sequence[Node]) -> tuple[Node, ...]:
        """Return the unit tests of these models."""
        ours = {model.id for model in models}
        found = [test for _, test in sorted(self.manifest.unit_tests.items()) if ours.intersection(test.depends_on_nodes[:1])]
        return tuple(Node(test.unique_id, test.name) for test in found)

    def upstream(self, models: Sequence[Node], built: Sequence[Node]) -> list[Upstream]:
        """Return what the models read or call that is no source and not among those that the refresh has built by then."""
        manifest, ours = self.manifest, {model.id for model in built}
        found = {}
        for model in models:
            for parent_id in sorted(parents(manifest, self._node(model))):
                function = manifest.functions.get(parent_id)
                parent = function or manifest.nodes.get(parent_id)
                if parent is None or parent_id in ours:
                    continue
                built_by, place = parent.config.meta.get("built_by"), self._names.place(parent)
                found[parent_id] = Upstream(model.name, place, str(built_by) if built_by else None, function is not None)
        return list(found.values())

    def tables(self, models: Sequence[Node]) -> dict[Relation, TableModel]:
        """Return those of the models that are tables, by where they are built."""
        ours = [node for model in models if (node := self.manifest.nodes.get(model.id))]
        places = self.places(models) | self.functions(models)
        return {
            self._names.place(node): TableModel(
                node.unique_id,
                bool(node.config.get("grants")),
                {
                    reader.name: places[reader.id]
                    for reader in models
                    if reader.id in places and node.unique_id in parents(self.manifest, self._node(reader))
                },
                any((node.config.get("persist_docs") or {}).values()),
            )
            for node in ours
            if node.config.materialized == "table"
        }

    def places(self, models: Sequence[Node]) -> dict[str, Relation]:
        """Return the relation that each model builds in the warehouse, by id; functions are none."""
        nodes = (node for model in models if (node := self.manifest.nodes.get(model.id)))
        return {node.unique_id: self._names.place(node) for node in nodes if node.config.materialized != "ephemeral"}

    def functions(self, models: Sequence[Node]) -> dict[str, Relation]:
        """Return where each function among the models is made, by id."""
        found = (function for model in models if (function := self.manifest.functions.get(model.id)))
        return {function.unique_id: self._names.place(function) for function in found}

    def reads(self, nodes: Sequence[Node]) -> set[Relation]:
        """Return every source and model that the nodes read."""
        manifest, ids = self.manifest, {parent for node in nodes for parent in parents(self.manifest, self._node(node))}
        return {self._names.place(found) for id_ in ids if (found := manifest.sources.get(id_) or manifest.nodes.get(id_))}

    def wanted(self, nodes: Sequence[Node], built: Sequence[Node], made: Iterable[Relation]) -> TrackedRelations:
        """Return what the nodes read that is not among those `built`, and what is `made`."""
        manifest, ours = self.manifest, {node.id for node in built}
        read: set[Relation] = set()
        unknown = ""
        for id_ in {parent for node in nodes for parent in parents(manifest, self._node(node))} - ours:
            if found := manifest.sources.get(id_) or manifest.nodes.get(id_):
                read.add(self._names.place(found))
            else:
                unknown = f"{id_} is read, which is neither a source nor a model"
        tables = [node for node in manifest.nodes.values() if str(node.resource_type) in _BUILT and node.unique_id not in ours]
        models = {self._names.place(node) for node in tables if node.config.materialized not in {"view", "ephemeral"}}
        return TrackedRelations(frozenset(read), frozenset(models), frozenset(made), unknown)

    def detours(self, nodes: Sequence[Node], tables: Mapping[Relation, TableModel]) -> Iterator[str]:
        """Say which of the nodes name one of the tables in another way than by `ref`, as far as that can be seen, and what to do."""
        return detours(self.manifest, nodes, {table.id: relation for relation, table in tables.items()})

    def put(self, table: TableModel, schema: str, note: str = "") -> None:
        """Have a table built in this schema, and read there by all that refers to it.

        `note` is a statement for the transaction in which it is made.
        """
        from dbt.artifacts.resources.v1.config import Hook
        from dbt.contracts.graph.nodes import ModelNode

        node = self.manifest.nodes[table.id]
        self._aside.put(node, schema, self._names, note)
        if note and isinstance(node, ModelNode):
            node.config.post_hook = [Hook(f"{{% raw %}}{note}{{% endraw %}}"), *node.config.post_hook]

    def known(self) -> frozenset[str]:
        """Return schema.name of everything that the project builds, whichever layer does, and of its sources."""
        return frozenset(str(self._names.place(node)) for node in self._tables())

    def spelled(self) -> dict[str, Relation]:
        """Return where everything is that the project builds or reads, by schema.name with either as the project spells it."""
        found: dict[str, Relation] = {}
        for node in self._tables():
            place = self._names.place(node)
            for schema, name in ((node.schema, place.table), (place.schema, node.identifier), (node.schema, node.identifier)):
                found[f"{schema}.{name}"] = place
        return found

    def _tables(self) -> Iterator[ManifestNode | SourceDefinition]:
        yield from (node for node in self.manifest.nodes.values() if str(node.resource_type) in _BUILT)
        yield from self.manifest.sources.values()

    def columns(self) -> dict[str, frozenset[str]]:
        """Return the columns of each model by schema.name; none where no contract makes sure that all are listed."""
        from dbt.contracts.graph.nodes import ModelNode

        models = [node for node in self.manifest.nodes.values() if isinstance(node, ModelNode)]
        return {str(self._names.place(model)): frozenset(model.columns if model.contract.enforced else ()) for model in models}

    def endpoints(self, relations: Iterable[Relation]) -> dict[Relation, tuple[str, ...]]:
        """Return the endpoints that the project's exposures state for each of these models, none where none is stated."""
        models = {id_: self._names.place(node) for id_, node in self.manifest.nodes.items() if str(node.resource_type) == "model"}
        found: dict[Relation, dict[str, None]] = {relation: {} for relation in relations}
        for _, exposure in sorted(self.manifest.exposures.items()):
            endpoint = exposure.meta.get("endpoint") or exposure.config.meta.get("endpoint")
            for model in exposure.depends_on_nodes if endpoint else ():
                if (relation := models.get(model)) in found:
                    found[relation][str(endpoint)] = None
        return {relation: tuple(endpoints) for relation, endpoints in found.items()}

    def sources(self, models: Sequence[Node], *, may_be_none: bool = False) -> tuple[Node, ...]:
        """Return the sources that the models read and whose freshness the project states; RunFailedError if there should be some."""
        read = {parent for model in models for parent in parents(self.manifest, self._node(model))}
        stated = [source for id_, source in sorted(self.manifest.sources.items()) if id_ in read and source.has_freshness]
        if not stated and not may_be_none:
            raise _project_error("no source that the layers read states a freshness and a loaded_at_field")
        return tuple(Node(source.unique_id, f"{source.source_name}.{source.name}") for source in stated)

    def ages(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Ask how old the sources are; no question takes longer than `limit`. StoppedError when it is stopped from outside."""
        with without_hooks():
            outcome = self._execute("source freshness", nodes, limit)
        return CommandResult(ages_of(nodes, outcome, self._connections), problem_of(nodes, outcome, self._connections))

    def run(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Build models, seeds, snapshots; none of their statements runs longer than `limit`. StoppedError when stopped from outside."""
        flags = ["--full-refresh"] if self._settings.full_refresh else []
        if all(node.id.startswith("model.") for node in nodes):
            return self._built("run", nodes, limit, flags)
        # `run` knows models only; `build` would run their tests too, which are a step of their own.
        return self._built("build", nodes, limit, [*flags, "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"])

    def test(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Run the tests; no statement of theirs runs longer than `limit`. StoppedError when it is stopped from outside."""
        # dbt first makes the schemas of those that store what they find: where it can't, the others are tested all the same.
        storing = self.stored(nodes)
        parts = [[node for node in nodes if (node.id in storing) is stores] for stores in (False, True)]
        results: list[CommandResult] = []
        done: set[str] = set()
        for part in filter(None, parts):
            try:
                results.append(self._tested(part, limit))
            finally:
                self.done = done = done | self.done
        problem = next((result.error for result in results if result.error), None)
        return CommandResult(tuple(each for result in results for each in result.nodes), problem)

    def _tested(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        statements = {id_: self.scene.filled(kept) for id_, kept in self.tests_known.items()} if self.scene.is_plain else {}
        # What is in the warehouse matters only to what dbt puts together.
        flags = ["--no-populate-cache"] if all(node.id in statements for node in nodes) else []
        with known(statements):
            return self._built("test", nodes, limit, flags)

    def stored(self, tests: Sequence[Node]) -> dict[str, Relation]:
        """Return where those of the tests that store what they find do so, by id."""
        nodes = (node for test in tests if (node := self.manifest.nodes.get(test.id)))
        return {node.unique_id: self._names.place(node) for node in nodes if node.is_relational}

    def statements(self, tests: Sequence[Node], limit: timedelta) -> dict[str, str]:
        """Return what each of these tests selects, with all columns where it can, by id; StoppedError when it is stopped from outside.

        Left out are those that can't be compiled, and those whose `store_failures` is false: their rows are to be stored nowhere.
        """
        from dbt.contracts.graph.nodes import CompiledNode
        from dbt.task.compile import CompileTask

        # Unit tests find no rows.
        kept = {test.id: self.manifest.nodes[test.id] for test in tests if test.id in self.manifest.nodes}
        asked = [test for test in tests if test.id in kept and kept[test.id].config.get("store_failures") is not False]
        # Tests of dbt's own select all columns only where their rows are to be stored. What dbt has put together stays as it is.
        for test in asked:
            self.manifest.nodes[test.id] = wide = copy.deepcopy(kept[test.id])
            wide.config["store_failures"] = True
            if isinstance(wide, CompiledNode):
                # Else those of the models that it reads would be put in twice.
                wide.extra_ctes_injected, wide.extra_ctes = False, []
        try:
            with changed(CompileTask, raise_on_first_error=lambda _task: False):
                if not asked:
                    return {}
                outcome = self._execute("compile", asked, limit, ["--no-populate-cache"])
                if problem := problem_of(asked, outcome, self._connections):
                    self._on_line("warn", problem.message)
                return statements_of(outcome)
        finally:
            self.manifest.nodes.update(kept)

    def rehearsed(self, tests: Sequence[Node]) -> Statements:
        """Return what dbt would send for each of these tests, where that is one statement and it passes; nothing is sent."""
        # One that keeps what it finds makes a table first, in a schema that dbt asks the warehouse for.
        storing = self.stored(tests)
        tests = [test for test in tests if test.id in self.manifest.nodes and test.id not in storing]
        # What dbt runs it also changes.
        kept = copy.deepcopy(self.manifest.nodes)
        try:
            with Rehearsal.held() as rehearsal:
                results = self._built("test", tests, timedelta(hours=1), ["--no-populate-cache"])
        finally:
            self.manifest.nodes = kept
        passed = {result.node.id for result in results.nodes if result.state is NodeState.OK}
        return {id_: statement for id_, statement in rehearsal.statements.items() if id_ in passed}

    @property
    def scene(self) -> Scene:
        """What is this run's own in what dbt sends."""
        return Scene(self._access.dbname, str(self._settings.variables.get(manifest_cache.AS_OF, "")), self._aside.names)

    def hang_up(self) -> None:
        """End all connections, whatever they wait for; to be called from another thread than the one that waits."""
        self._connections.hang_up()

    def _nodes(self, selection: Selection, kinds: Sequence[str]) -> tuple[Node, ...]:
        try:
            with chdir(self.project):  # `path:` looks from where we are
                found = selected(self.manifest, selection, kinds)
        except Exception as error:  # whatever dbt makes of a selector that is wrong
            raise _project_error(error_text(error)) from error
        if not found:
            raise _project_error(f"{' '.join(selection.select)} selects no {kinds[0]} of the dbt project")
        return found

    def has_hooks(self, kind: HookKind) -> bool:
        """Return whether the project, or one of its packages, has hooks of this kind."""
        return bool(hooks_of(self.manifest, kind))

    def begin(self, nodes: Sequence[Node], limit: timedelta) -> CommandResult:
        """Run on-run-start for a run of these nodes, once their schemas are there; no statement of it runs longer than `limit`."""
        return self._hooks(HookKind.START, nodes, limit, [])

    def end(self, nodes: Sequence[Node], kept: Sequence[Node], unpublished: str, limit: timedelta) -> CommandResult:
        """Run on-run-end for a run of these nodes, some of them `kept` from an earlier attempt.

        `unpublished` says why those that were built beside the live ones are not live; empty where they are.
        """
        aside = dict.fromkeys(self._aside.ids, unpublished) if unpublished else {}
        return self._hooks(HookKind.END, nodes, limit, results_for_hooks(self.manifest, nodes, kept, self.results, aside))

    def _hooks(self, kind: HookKind, nodes: Sequence[Node], limit: timedelta, results: Sequence[RunResult]) -> CommandResult:
        hooks = hooks_of(self.manifest, kind)
        flags = ["--full-refresh"] if self._settings.full_refresh else []
        with only_hooks(kind, results), self._aside.as_live():
            outcome = self._execute("build", nodes, limit, flags)
        # dbt names their connection after none of them.
        worst = self._connections.worst
        results_of = tuple(replace(each, sqlstate=worst) for each in node_results(hooks, outcome, self._connections))
        return CommandResult(results_of, problem_of(hooks, outcome, self._connections))

    def _built(self, command: str, nodes: Sequence[Node], limit: timedelta, flags: Sequence[str] = ()) -> CommandResult:
        with without_hooks():
            outcome = self._execute(command, nodes, limit, flags)
        return CommandResult(node_results(nodes, outcome, self._connections), problem_of(nodes, outcome, self._connections))

    def _execute(self, command: str, nodes: Sequence[Node], limit: timedelta, flags: Sequence[str] = ()) -> dbtRunnerResult:
        self._connections.clear()
        self._connections.settings = {**self.session_settings, **_time_outs(limit)}
        with (
            exactly(node.id for node in nodes),
            references_kept(self.manifest.nodes[node.id] for node in nodes if node.id in self.manifest.nodes),
        ):
            return self._invoke([command, *select_arguments(self.manifest, [node.id for node in nodes]), *flags])

    def _invoke(self, command: list[str]) -> dbtRunnerResult:
        _import_dbt()
        from dbt.cli.main import dbtRunner

        places = [
            *("--project-dir", str(self.project), "--profiles-dir", str(self._workdir)),
            *("--target-path", str(self._workdir / "target"), "--log-path", str(self._workdir / "logs")),
            # dbt reads it as YAML, to which JSON's emoji are no text, and 1e-07 is one.
            *("--vars", yaml.safe_dump(dict(self._settings.variables), default_flow_style=True, width=math.inf)),
        ]
        # What parsing and listing print is of no use to anyone but for warnings.
        least = "info" if command[0] in _BUILDING else "warn"
        # What is only compiled has not passed.
        on_done = self.on_done if command[0] in _BUILDING else lambda _id: None
        with ExitStack() as stack:
            lines = stack.enter_context(Lines(self._on_line, least, on_done))
            for held in (
                self._variables(),
                self._invocation.held(),
                empty_selections_fail(),
                self._aside.watched(),
                self._connections.watched(),
            ):
                stack.enter_context(held)
            self.done = lines.done
            outcome = dbtRunner(self._manifest, [lines.take]).invoke([*_QUIET, *command[0].split(), *places, *command[1:]])
        if isinstance(outcome.exception, KeyboardInterrupt):
            raise outcome.exception
        if command[0] in _BUILDING:
            self.results |= {each.node.unique_id: each for each in getattr(outcome.result, "results", None) or ()}
        return outcome

    def _node(self, node: Node) -> AnyNode:
        return node_of(self.manifest, node.id)

    @property
    def _names(self) -> Names:
        return Names(self.manifest)

    @property
    def manifest(self) -> Manifest:
        """The parsed project, as dbt has it."""
        if self._manifest is None:
            raise RuntimeError("parse first")
        return self._manifest

    @contextmanager
    def _variables(self) -> Iterator[None]:
        """Set what dbt and libpq take from the environment alone; all as it was afterwards."""
        ours = {PASSWORD_VARIABLE: self._access.password, "PGAPPNAME": self._application_name}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _write_profile(self) -> None:
        """Write the profile that the project names; the password stays in the environment."""
        access, settings = self._access, self._settings
        output = {
            "type": "postgres",
            "host": access.host,
            "port": access.port,
            "dbname": access.dbname,
            "user": access.user,
            "password": f"{{{{ env_var('{PASSWORD_VARIABLE}') }}}}",
            "sslmode": access.sslmode,
            "schema": settings.schema,
            "threads": settings.threads,
            "connect_timeout": _CONNECT_TIMEOUT,
            "keepalives_idle": _KEEPALIVES_IDLE,
            "retries": _CONNECT_RETRIES,
            # Empty, so that PGAPPNAME counts: the name changes with every run, and a changed profile makes dbt parse anew.
            "application_name": "",
        }
        if access.sslrootcert:
            output["sslrootcert"] = str(access.sslrootcert)
        profile = {profile_name(self.project): {"target": settings.target, "outputs": {settings.target: output}}}
        self._workdir.mkdir(parents=True, exist_ok=True)
        (self._workdir / "profiles.yml").write_text(yaml.safe_dump(profile))


def profile_name(project: Path) -> str:
    """Return the profile that a dbt project names; RunFailedError if there is no such project."""
    file = project / "dbt_project.yml"
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise _project_error(f"there is no dbt project in {project}: {error.strerror}", "--project names the folder of yours") from error
    except yaml.YAMLError as error:
        raise _project_error(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("profile"), str):
        raise _project_error(f"{file} names no profile", "write `profile: any_name` in it: the profile itself is made for each run")
    return str(content["profile"])


def _project_error(message: str, hint: str = LINT_HINT) -> RunFailedError:
    return RunFailedError(Failure(Reason.INVALID_PROJECT, message, hint=hint))


def _time_outs(limit: timedelta) -> dict[str, str]:
    """Return PostgreSQL's settings; waiting for a lock ends before the statement does, so that the error names the lock."""
    milliseconds = max(int(limit.total_seconds() * 1000), 1000)
    return {"statement_timeout": str(milliseconds), "lock_timeout": str(milliseconds // 2)}


def _import_dbt() -> None:
    # Of two threads, one imports it and the other one waits: what is changed in dbt must be changed once.
    with _importing:
        _import_once()


@cache
def _import_once() -> None:
    spare_code_generation()
    with spared_collections():
        import dbt.adapters.postgres
        import dbt.cli.main  # noqa: F401 - the import is the point

    spare_schemas()
    spare_stack_walks()
    spare_debug_events()
    spare_compilations()
    spare_searches()
