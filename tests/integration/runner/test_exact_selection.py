"""Each dbt command names its nodes by `--select`, so that it would select exactly these even if no class of dbt were patched."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from dbt_common.exceptions import EventCompilationError

from refresh_runner.dbt.open_project import open_project
from refresh_runner.dbt.project import Dbt
from refresh_runner.dbt.selectors import select_arguments
from refresh_runner.model.plan import DbtSettings
from support.runner_harness import write_project

SETTINGS = DbtSettings(1, "prod", "dwh", {"as_of": "2026-02-03"})
FILES = {
    "models/stg_lignes/further.sql": "select 1 as id",
    "models/marts/versions.sql": "select 1 as id",
    "models/marts/mart_a.of.zone.sql": "select 1 as id",
    "models/marts/versions_v2.sql": "select 2 as id",
    "models/marts/versions.yml": """
models:
  - {name: versions, latest_version: 1, versions: [{v: 1, defined_in: versions}, {v: 2}]}
  - name: further
    columns:
      - name: id
        data_tests:
          - {not_null: {name: "a_name,with+and@and[brackets]:as_people_write_them+"}}
          - {not_null: {name: "a_name"}}
          - {not_null: {name: "a"}}
unit_tests:
  - {name: mart_b, model: mart_b, given: [{input: "ref('fait_jours')", rows: [{id: 1, mois: 1}]}], expect: {rows: [{id: 1, mois: 1}]}}
sources:
  - {name: a.b, tables: [{name: c}, {name: d}]}
  - {name: a, tables: [{name: b}]}
""",
    "tests/mart_a.sql": "select * from {{ ref('mart_a') }} where id < 0",
    "seeds/villes,du+nord.csv": "id\n1\n",
    "snapshots/several.sql": "".join(
        f"{{% snapshot {name} %}}{{{{ config(unique_key='id', strategy='check', check_cols='all') }}}}select 1 as id{{% endsnapshot %}}\n"
        for name in ("one", "two")
    ),
}
"""Names that one another begin with, names of folders, and characters that mean something in a selector."""


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    project = write_project(tmp_path_factory.mktemp("selection") / "project")
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    with (project / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\n")
    with open_project(project, SETTINGS, "selection") as opened:
        return opened


def taken_by(dbt: Dbt, arguments: list[str]) -> set[str]:
    """Return what plain dbt selects by these arguments, of any kind of node."""
    from dbt.compilation import Linker
    from dbt.graph.cli import parse_difference
    from dbt.graph.graph import Graph
    from dbt.graph.selector import NodeSelector

    assert arguments[-2:] == ["--indirect-selection", "empty"]
    selectors = [value for option, value in pairwise(arguments) if option == "--select"]
    linker = Linker()
    linker.link_graph(dbt.graph.manifest)
    spec = parse_difference(selectors, None)
    selector = NodeSelector(Graph(linker.graph), dbt.graph.manifest, None, include_empty_nodes=True)
    _take_no_tests(spec)
    direct, _ = selector.select_nodes(spec)
    return set(selector.filter_selection(direct))


def _take_no_tests(spec: Any) -> None:
    """Do what `--indirect-selection empty` does, which dbt reads from the flags of the current command."""
    from dbt.graph.selector_spec import IndirectSelection

    spec.indirect_selection = IndirectSelection.Empty
    for each in getattr(spec, "components", ()):
        _take_no_tests(each)


def test_the_arguments_take_each_node_alone(dbt: Dbt) -> None:
    """A selector that matched one node more would build a node that nobody selected."""
    manifest = dbt.graph.manifest
    nodes = [id_ for id_, node in manifest.nodes.items() if str(node.resource_type) != "operation"]
    every = [*nodes, *manifest.sources, *manifest.unit_tests]
    assert len(every) > 25
    assert {id_: taken_by(dbt, select_arguments(manifest, [id_])) for id_ in every} == {id_: {id_} for id_ in every}
    assert taken_by(dbt, select_arguments(manifest, every)) == set(every)


def test_no_nodes_are_not_the_whole_project(dbt: Dbt) -> None:
    """Without `--select`, dbt selects the whole project."""
    with pytest.raises(EventCompilationError, match="does not match any enabled nodes"):
        taken_by(dbt, select_arguments(dbt.graph.manifest, []))
