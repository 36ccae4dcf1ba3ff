"""Flags of dbt in a project."""

from support.ways.differences import FAILING_TESTS, NEVER_BUILT
from support.ways.project import Project, Way

_TABLES = "models: {+materialized: table}\n"
_WARNS = "models: [{name: mart, columns: [{name: id, data_tests: [{unique: {config: {severity: warn}}}]}]}]"
_TWICE = {"models/mart.sql": "select 1 as id union all select 1", "models/mart.yml": _WARNS}

PROJECTS = [
    Project(
        name="warn_error",
        difference=FAILING_TESTS,
        files=_TWICE,
        config=_TABLES + "flags: {warn_error: true}\n",
        marts=("dwh.mart",),
        tests="Warn",
        codes={Way.PLAIN: 1},
    ),
    Project(
        name="warn_error_and_nothing_to_warn_of",
        files={"models/mart.sql": "select 1 as id", "models/mart.yml": _WARNS},
        config=_TABLES + "flags: {warn_error: true}\n",
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="warn_error_options",
        difference=FAILING_TESTS,
        files=_TWICE,
        config=_TABLES + "flags: {warn_error_options: {error: all, warn: [NoNodesForSelectionCriteria]}, fail_fast: true, debug: true}\n",
        marts=("dwh.mart",),
        tests="Warn",
        codes={Way.PLAIN: 1},
    ),
    Project(
        name="warn_error_options_for_another_event",
        files=_TWICE,
        config=_TABLES + "flags: {warn_error_options: {error: [NothingToDo], silence: []}, use_colors: true, partial_parse: false}\n",
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="cautious_selection",
        files={
            "models/mart.sql": "select 1 as id",
            "models/autre.sql": "select 1 as id",
            "models/mart.yml": """
models:
  - name: mart
    columns:
      - {name: id, data_tests: [unique, {relationships: {arguments: {to: ref('autre'), field: id}}}]}
""",
        },
        config=_TABLES + "flags: {indirect_selection: cautious}\n",
        marts=("dwh.mart",),
        spec={"tests": {"select": ["mart"]}},
        commands=(("run",), ("test", "--select", "mart")),
    ),
    Project(
        name="another_version_of_dbt",
        difference=NEVER_BUILT,
        files={"models/mart.sql": "select 1 as id"},
        config=_TABLES + "require-dbt-version: '>=1.99.0'\n",
        marts=("dwh.mart",),
        refused="This version of dbt is not supported with the 'essai' package.",
        refused_by=(Way.DIRECT, Way.SWAP, Way.PARSED),
        codes={Way.PLAIN: 2},
    ),
    Project(
        name="another_version_of_dbt_that_is_not_looked_at",
        files={"models/mart.sql": "select 1 as id"},
        config=_TABLES + "require-dbt-version: '>=1.99.0'\nflags: {version_check: false}\n",
        marts=("dwh.mart",),
    ),
]
