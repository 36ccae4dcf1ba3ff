"""Functions and unit tests of a project."""

from support.ways.differences import FAILING_TESTS, FUNCTION
from support.ways.project import Edit, Project, Way

_FUNCTION = {
    "functions/double.sql": "select 2 * n",
    "functions/double.yml": "functions: [{name: double, arguments: [{name: n, data_type: integer}], returns: {data_type: integer}}]",
}
_MART = {
    "models/fait.sql": "select 21 as n, 'a'::varchar(3) as code",
    "models/mart.sql": "select {{ function('double') }}(n) as n from {{ ref('fait') }}",
}
_UNIT = """
unit_tests:
  - name: vingt_et_un
    model: somme
    given: [{input: ref('fait'), rows: [{n: 1, code: a}, {n: 20, code: b}]}, {input: ref('base'), rows: [{n: 0}]}]
    expect: {rows: [{n: 21}]}
"""
_SUM = {
    "models/base.sql": "select 0 as n",
    "models/fait.sql": "select 21 as n, 'a'::varchar(3) as code",
    "models/somme.sql": "select (select sum(n) from {{ ref('fait') }}) + n as n from {{ ref('base') }}",
    "models/somme.yml": _UNIT,
}
_TABLES = "models: {+materialized: table}\n"

PROJECTS = [
    Project(
        name="function",
        files={**_FUNCTION, **_MART},
        config=_TABLES,
        marts=("dwh.mart",),
        edits=(Edit(files={"functions/double.sql": "select 2 * n + 1"}),),
    ),
    Project(
        name="function_of_a_mart",
        difference=FUNCTION,
        files={
            "functions/compte.sql": "select count(*)::integer + n from {{ ref('mart').include(database=false) }}",
            "functions/compte.yml": _FUNCTION["functions/double.yml"].replace("double", "compte"),
            "models/mart.sql": "select 1 as id",
        },
        config=_TABLES,
        marts=("dwh.mart",),
        refused="compte reads dwh.mart",
    ),
    Project(
        name="unit_test",
        files=_SUM,
        config=_TABLES,
        marts=("dwh.somme", "dwh.fait"),
        tests="Fail",
    ),
    Project(
        name="unit_test_that_fails",
        difference=FAILING_TESTS,
        files={**_SUM, "models/somme.yml": _UNIT.replace("n: 21", "n: 22")},
        config=_TABLES,
        tests="Warn",
        marts=("dwh.somme", "dwh.fait"),
        commands=(("run",), ("test",)),
        codes={Way.PLAIN: 1},
        edits=(),
    ),
]
