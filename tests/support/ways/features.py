"""The features of dbt that projects use, each with the projects that use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from support.ways.project import Project


@dataclass(frozen=True)
class Feature:
    """A feature of dbt."""

    name: str
    pattern: str
    """Regular expression for the text of each project, where `^` and `$` are ends of lines."""
    projects: tuple[str, ...]
    is_refused: bool = False
    """Whether the runner refuses the feature, with the message in each project's `refused`."""

    def problems(self, known: Mapping[str, Project]) -> Iterator[str]:
        """Yield what is wrong: no project, an unknown one, or one that does not use the feature."""
        if not self.projects:
            yield f"{self.name}: no project uses it"
        for name in self.projects:
            if name not in known:
                yield f"{self.name}: there is no project {name}"
            elif not re.search(self.pattern, known[name].text, re.MULTILINE):
                yield f"{self.name}: {name} does not use it: nothing in it matches {self.pattern!r}"
            elif self.is_refused and not known[name].refused:
                yield f"{self.name}: {name} is not refused"


def _strategy(name: str, *projects: str) -> Feature:
    return Feature(f"incremental, {name}", rf"incremental_strategy='{re.escape(name)}'", projects)


def _hook(kind: str, *projects: str) -> Feature:
    return Feature(f"hooks, {kind}", rf"\b{kind.replace('-', '[-_]')}\b", projects)


def _in_hooks(variable: str, *projects: str) -> Feature:
    return Feature(f"hooks with {variable}", rf"\b{variable}\b", projects)


def _constraint(kind: str, *projects: str) -> Feature:
    return Feature(f"contracts, {kind}", rf"contract: \{{enforced: true\}}(.|\n)*constraints:(.|\n)*type: {kind}\b", projects)


def _of_tests(setting: str, *projects: str) -> Feature:
    return Feature(f"tests with {setting}", rf"\b{setting}[:=]", projects)


def _quoting(database: bool, schema: bool, identifier: bool, project: str) -> Feature:
    words = f"{{database: {database}, schema: {schema}, identifier: {identifier}}}".lower()
    return Feature(f"quoting {words[1:-1]}", re.escape(f"quoting: {words}"), (project,))


FEATURES = (
    Feature("seeds with types", r"\+column_types: \{", ("seed_with_types",)),
    Feature("snapshots, timestamp", r"strategy: timestamp\b", ("snapshot_by_time", "snapshot_without_end", "mart_that_is_a_snapshot")),
    Feature("snapshots, check", r"strategy: check\b", ("snapshot_by_columns", "snapshot_of_all_columns")),
    *(
        Feature(f"snapshots, {strategy}, hard_deletes: {deletes}", rf"strategy: {strategy}\b.*hard_deletes: {deletes}\b", (project,))
        for strategy, deletes, project in (
            ("timestamp", "invalidate", "snapshot_by_time_with_closed_rows"),
            ("timestamp", "new_record", "snapshot_with_deleted_rows"),
            ("check", "invalidate", "snapshot_of_all_columns"),
            ("check", "new_record", "snapshot_by_columns_with_deleted_rows"),
        )
    ),
    Feature("snapshots in a block", r"\{% snapshot \w+ %\}", ("snapshot_in_a_block",)),
    _strategy("append", "incremental_append"),
    _strategy("merge", "incremental_merge", "incremental_merge_of_two_keys"),
    _strategy("delete+insert", "incremental_delete_insert", "incremental_with_predicates"),
    _strategy("microbatch", "incremental_microbatch"),
    Feature("incremental strategies of the project", r"\{% macro get_incremental_\w+_sql\(", ("incremental_by_a_strategy_of_its_own",)),
    Feature("ephemeral models", r"materialized='ephemeral'", ("ephemeral_in_a_row",)),
    Feature(
        "materialized views",
        r"materialized='materialized_view'",
        ("materialized_view_below_a_mart", "mart_that_is_a_materialized_view", "full_refresh_of_everything"),
    ),
    Feature("on_configuration_change", r"\+on_configuration_change: apply\b", ("materialized_view_that_changes",)),
    Feature("model versions", r"\bversions: \[\{v: 1\b", ("model_versions",)),
    Feature("groups", r"\bgroup: finances\b", ("groups_and_access",)),
    Feature("access", r"\baccess: private\b", ("groups_and_access",)),
    _constraint("not_null", "contract_with_every_constraint", "contract_with_constraints", "contract_of_an_incremental"),
    _constraint("unique", "contract_with_every_constraint", "contract_with_constraints", "contract_with_named_constraints"),
    _constraint("primary_key", "contract_with_every_constraint", "contract_with_constraints", "constraints_on_another_mart"),
    _constraint("foreign_key", "contract_with_every_constraint", "contract_with_a_foreign_key_on_a_source", "constraints_on_another_mart"),
    _constraint("check", "contract_with_every_constraint", "contract_with_constraints", "contract_with_named_constraints"),
    _constraint("custom", "contract_with_every_constraint"),
    Feature("unit tests", r"^unit_tests:", ("unit_tests", "unit_test", "unit_test_that_fails")),
    Feature("unit tests with overrides", r"\boverrides: \{macros: \{is_incremental: true\b", ("unit_tests_with_overrides",)),
    Feature("functions", r"\{\{ function\('", ("functions", "function")),
    Feature("exposures", r"^exposures:", ("exposures_metrics_and_queries",)),
    Feature("semantic models", r"^semantic_models:", ("exposures_metrics_and_queries",)),
    Feature("saved queries", r"^saved_queries:", ("exposures_metrics_and_queries",)),
    Feature("Python models", r"^models/\w+\.py$", ("python_model",), is_refused=True),
    Feature("analyses", r"^analyses/\w+\.sql$", ("exposures_metrics_and_queries",)),
    Feature("singular tests", r"^tests/\w+\.sql$", ("tests_of_every_kind", "singular_tests_with_every_setting")),
    Feature("generic tests", r"\bdata_tests: \[?", ("tests_of_every_kind",)),
    _of_tests("where", "tests_of_every_kind"),
    _of_tests("limit", "tests_of_every_kind", "tests_settings_of_the_project"),
    _of_tests("severity", "tests_of_every_kind", "tests_settings_of_the_project"),
    _of_tests("warn_if", "tests_of_every_kind", "singular_tests_with_every_setting", "generic_tests_of_the_project"),
    _of_tests("error_if", "tests_of_every_kind", "singular_tests_with_every_setting", "generic_tests_of_the_project"),
    _of_tests("store_failures", "tests_that_store_failures", "singular_tests_with_every_setting", "flags_of_the_project"),
    _of_tests("fail_calc", "tests_of_every_kind", "singular_tests_with_every_setting"),
    Feature("custom generic tests", r"\{% test \w+\(", ("tests_of_every_kind", "generic_tests_of_the_project")),
    Feature(
        "custom materializations",
        r"\{% ?materialization \w+, (default|adapter='postgres') ?%\}",
        (
            "a_materialization_of_its_own",
            "a_mart_with_a_materialization_of_its_own",
            "the_table_materialization_replaced",
            "a_test_materialization_of_its_own",
        ),
    ),
    Feature("generate_schema_name", r"\{% macro generate_schema_name\(", ("names_by_macros", "names_by_folder", "schemas_with_odd_names")),
    Feature("generate_alias_name", r"\{% macro generate_alias_name\(", ("names_by_macros", "names_by_folder")),
    Feature("generate_database_name", r"\{% macro generate_database_name\(", ("names_by_macros",)),
    _hook("on-run-start", "hooks_once_a_run", "hooks_of_the_run"),
    _hook("on-run-end", "hooks_once_a_run", "hooks_of_the_run"),
    _hook("pre-hook", "hooks_of_models", "hooks_of_every_kind_of_node", "pre_hook_with_this"),
    _hook("post-hook", "hooks_of_models", "hooks_of_every_kind_of_node", "post_hooks_of_a_mart"),
    Feature("hooks of seeds", r"^seeds: \{\+pre-hook: .*\+post-hook: ", ("hooks_of_every_kind_of_node",)),
    Feature("hooks of snapshots", r"^snapshots: \{\+pre-hook: .*\+post-hook: ", ("hooks_of_every_kind_of_node",)),
    Feature("hooks outside of the transaction", r"before_begin\((.|\n)*after_commit\(", ("hooks_of_every_kind_of_node",)),
    Feature("hooks of packages", r"^paquet/dbt_project\.yml\n(.|\n)*^on-run-end: ", ("hooks_of_a_package",)),
    _in_hooks("schemas", "hooks_once_a_run", "hooks_that_look_at_the_run", "hooks_that_grant"),
    _in_hooks("database_schemas", "hooks_once_a_run", "hooks_that_look_at_the_run"),
    _in_hooks("results", "hooks_once_a_run", "hooks_that_look_at_the_run"),
    _in_hooks("graph", "hooks_once_a_run", "hooks_that_look_at_the_run"),
    _in_hooks("invocation_args_dict", "hooks_with_the_arguments_of_the_invocation", "hooks_with_the_selection_of_the_invocation"),
    Feature("local packages", r"^packages: \[\{local: ", ("a_local_package_with_dispatch", "hooks_of_a_package")),
    Feature("packages of the hub", r"\{package: exemple/du_hub, version: \[", ("packages_that_are_installed",)),
    Feature("packages of Git", r"\{git: 'https://", ("packages_that_are_installed",)),
    Feature("packages of tarballs", r"\{tarball: 'https://", ("packages_that_are_installed",)),
    Feature("package-lock.yml", r"^package-lock\.yml$", ("packages_that_are_installed",)),
    Feature("dispatch overrides", r"^dispatch: \[\{macro_namespace: ", ("a_local_package_with_dispatch", "macros_of_dbt_replaced")),
    Feature("+enabled: false", r"\+enabled: false\b", ("a_local_package_with_dispatch",)),
    Feature("selectors.yml with a default", r"^selectors: (.|\n)*\bdefault: true\b", ("selectors_with_a_default",)),
    Feature("variables, integer", r"^vars: .*\bentier: 1\b", ("variables_of_every_type",)),
    Feature("variables, float", r"^vars: .*\bflottant: 0\.5\b", ("variables_of_every_type",)),
    Feature("variables, text", r"^vars: .*\btexte: du projet\b", ("variables_of_every_type",)),
    Feature("variables, boolean", r"^vars: .*\bvrai: true\b", ("variables_of_every_type",)),
    Feature("variables, date", r"^vars: .*\bjour: 2026-01-02\b", ("variables_of_every_type",)),
    Feature("variables, list", r"^  liste:\n", ("variables_of_every_type",)),
    Feature("variables, mapping", r"^  carte:\n", ("variables_of_every_type",)),
    Feature("variables, null", r"^  rien: null$", ("variables_of_every_type",)),
    Feature("env_var without default", r"\{\{ env_var\('\w+'\) \}\}", ("variables_of_every_type",)),
    Feature("env_var with default", r"\{\{ env_var\('\w+', '", ("variables_of_every_type", "settings_by_target")),
    Feature("target-dependent logic", r"\btarget\.name ==", ("a_model_switched_off", "settings_by_target")),
    Feature("--full-refresh", r"^--full-refresh$", ("full_refresh_of_everything", "materialized_view_that_changes")),
    Feature("full_refresh: true", r"\bfull_refresh=true\b", ("incremental_full_refresh",)),
    Feature("full_refresh: false", r"\bfull_refresh=false\b", ("incremental_never_refreshed",)),
    Feature("full_refresh by a variable", r"\bfull_refresh=var\(", ("full_refresh",)),
    _quoting(False, True, True, "quoting_database_off"),
    _quoting(True, False, True, "quoting_schema_off"),
    _quoting(True, True, False, "quoting_identifier_off"),
    _quoting(False, False, True, "quoting_database_schema_off"),
    _quoting(False, True, False, "quoting_database_identifier_off"),
    _quoting(True, False, False, "quoting_schema_identifier_off"),
    _quoting(False, False, False, "quoting_database_schema_identifier_off"),
    Feature("names of 63 bytes", r"\b\w{63}\b", ("names_of_63_bytes", "long_names")),
)
