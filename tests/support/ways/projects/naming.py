"""Names with and without quotes, in upper and mixed case, and with blanks."""

from __future__ import annotations

from support.ways.project import Edit, Project

_FILES = {
    "models/STG_Lignes.sql": "{{ config(materialized='view') }} select 1 as id union all select 2",
    "models/Mart_A.sql": "{{ config(schema='MARTS') }} select id, {{ var('plus', 0) }} as plus from {{ ref('STG_Lignes') }}",
    "models/MART_B.sql": "{{ config(schema='MARTS', indexes=[{'columns': ['id']}]) }} select id from {{ ref('Mart_A') }} where id < 2",
    "models/marts.yml": """
models:
  - {name: Mart_A, description: Lu par tous, columns: [{name: id, data_tests: [unique, not_null]}], config: {grants: {select: lecteur}}}
  - name: MART_B
    columns: [{name: id, data_tests: [{relationships: {arguments: {to: ref('Mart_A'), field: id}}}]}]
""",
}
_PERSISTED = "+persist_docs: {relation: true}"
_EDIT = Edit(files={"models/STG_Lignes.sql": "{{ config(materialized='view') }} select 1 as id union all select 3"})


def _project(name: str, quoting: str, marts: tuple[str, ...]) -> Project:
    return Project(
        name=name,
        files=_FILES,
        config=f"quoting: {quoting}\nmodels: {{+materialized: table, {_PERSISTED}}}\n",
        marts=marts,
        tests="Fail",
        edits=(_EDIT,),
    )


PROJECTS = [
    _project("nothing_quoted", "{database: false, schema: false, identifier: false}", ("dwh_MARTS.Mart_A", "dwh_marts.mart_b")),
    _project("names_unquoted", "{identifier: false}", ("dwh_MARTS.Mart_A", "dwh_MARTS.mart_b")),
    _project("schemas_unquoted", "{schema: false}", ("dwh_MARTS.Mart_A", "dwh_marts.MART_B")),
    Project(
        name="names_with_blanks",
        files={
            "models/mart.sql": '{{ config(alias="mart des lignes", schema="à lire") }} select 1 as "numéro de ligne", 2 as autre',
            "models/mart.yml": "models: [{name: mart, columns: [{name: autre, data_tests: [not_null]}]}]",
        },
        config="models: {+materialized: table}\n",
        marts=("dwh_à lire.mart des lignes",),
        tests="Fail",
        spec={
            "validation": {
                "marts": [{"relation": "dwh_à lire.mart des lignes", "keyColumns": ["numéro de ligne"], "uniqueKey": ["numéro de ligne"]}]
            }
        },
    ),
]
