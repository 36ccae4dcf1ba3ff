"""Names and quoting."""

from itertools import product

from support.ways.differences import NEVER_BUILT
from support.ways.project import Edit, Project, Way
from support.ways.projects.kinds import TABLES

_LONG = "mart_" + "tres_" * 8 + "long_nom"
"""53 characters, so that dbt's temporary names still fit into 63."""
_LONGEST = "m" + "x" * 61 + "d"
"""As long as PostgreSQL allows, so that dbt truncates it to derive another name."""

PROJECTS = [
    Project(
        name="names_with_blanks_and_quotes",
        quick=True,
        files={
            "models/mart_a.sql": '{{ config(alias=\'mart à l\\\'ancienne\') }} select 1 as "a b", 2 as "l\'un", 3 as "100%", 4 as "{x}", 5 as "a.b", 6 as "c\\d", 7 as "select"',
            "models/mart_b.sql": "{{ config(alias='order') }} select * from {{ ref('mart_a') }}",
            "models/mart_c.sql": "{{ config(alias='100% {sûr}') }} select 1 as \"User\"",
            "models/mart_d.sql": "{{ config(alias='Ω\\\\x') }} select 1 as \"日本\"",
        },
        config=TABLES,
        marts=("dwh.order",),
        edits=(
            Edit(),
            Edit(files={"models/mart_b.sql": "{{ config(alias='order') }} select *, 1 as \"de plus\" from {{ ref('mart_a') }}"}),
        ),
    ),
    Project(
        name="marts_with_odd_names",
        files={
            "models/mart_a.sql": '{{ config(alias="mart à l\'ancienne") }} select 1 as "a b", 2 as "l\'un", 3 as "100%", 4 as "{x}"',
            "models/mart_c.sql": '{{ config(alias=\'100% {sûr}\') }} select 1 as "User", 2 as "a""b"',
            "models/mart_e.sql": "{{ config(alias='Majuscules') }} select 1 as \"Id\"",
        },
        config=TABLES,
        marts=("dwh.mart à l'ancienne", "dwh.100% {sûr}", "dwh.Majuscules"),
        edits=(Edit(), Edit(files={"models/mart_c.sql": '{{ config(alias=\'100% {sûr}\') }} select 1 as "User", 3 as "%s"'})),
    ),
    Project(
        name="schemas_with_odd_names",
        files={
            "models/mart.sql": "{{ config(schema='à part, 100%') }} select 1 as id",
            "models/mart_b.sql": "{{ config(schema='User') }} select 1 as id",
            "macros/n.sql": "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}",
        },
        config=TABLES,
        marts=("à part, 100%.mart", "User.mart_b"),
    ),
    Project(
        name="long_names",
        files={
            f"models/{_LONG}.sql": "select 1 as " + "c" * 63,
            "models/mart.sql": f"{{{{ config(schema='{'s' * 63}') }}}} select * from {{{{ ref('{_LONG}') }}}}",
            "models/mart_b.sql": f"{{{{ config(schema='{'s' * 57}') }}}} select * from {{{{ ref('{_LONG}') }}}}",
            "models/mart_é.sql": "{{ config(schema='" + "é" * 30 + "') }} select 1 as id",
            "macros/n.sql": "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}",
        },
        config=TABLES,
        marts=(f"dwh.{_LONG}", f"{'s' * 63}.mart", f"{'s' * 57}.mart_b", f"{'é' * 30}.mart_é"),
        edits=(Edit(), Edit(files={"models/mart_é.sql": "{{ config(schema='" + "é" * 30 + "') }} select 1 as id, 2 as b"})),
    ),
    Project(
        name="names_of_63_bytes",
        files={
            f"models/{_LONGEST}.sql": "select 1 as " + "c" * 63,
            f"models/{_LONGEST[:-1]}e.sql": f"{{{{ config(indexes=[{{'columns': ['{'c' * 63}']}}]) }}}} select * from {{{{ ref('{_LONGEST}') }}}}",
            "models/t.yml": f"models: [{{name: {_LONGEST}, columns: [{{name: {'c' * 63}, data_tests: [not_null, unique]}}]}}]",
        },
        config=TABLES,
        marts=(f"dwh.{_LONGEST}", f"dwh.{_LONGEST[:-1]}e"),
        tests="Fail",
        edits=(Edit(), Edit(files={f"models/{_LONGEST}.sql": "select 1 as " + "c" * 63 + ", 2 as de_plus"})),
    ),
    Project(
        name="names_of_63_bytes_with_accents",
        difference=NEVER_BUILT,
        files={"models/mart.sql": f"{{{{ config(alias='{'é' * 31}a') }}}} select 1 as id"},
        config=TABLES,
        marts=(f"dwh.{'é' * 31}a",),
        refused="collide, because PostgreSQL truncates names at 63 bytes: give the model a shorter alias",
        refused_by=(Way.DIRECT, Way.SWAP, Way.PARSED),
        edits=(),
        codes={Way.PLAIN: 1},
    ),
    *(
        Project(
            name=f"quoting_{'database_' * (not database)}{'schema_' * (not schema)}{'identifier_' * (not identifier)}off",
            files={
                "models/base.sql": "{{ config(materialized='view') }} select 1 as id",
                "models/mart.sql": "select * from {{ ref('base') }}",
                "models/mart_b.sql": "{{ config(schema='b') }} select * from {{ ref('mart') }}",
                "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [unique]}]}]",
            },
            config=TABLES + f"quoting: {{database: {database}, schema: {schema}, identifier: {identifier}}}\n".lower(),
            marts=("dwh.mart", "dwh_b.mart_b"),
            tests="Fail",
        )
        for database, schema, identifier in product((True, False), repeat=3)
        if not (database and schema and identifier)
    ),
    Project(
        name="quoting_off_and_upper_case",
        files={
            "models/MART.sql": "select 1 as Id",
            "models/suite.sql": "{{ config(materialized='view') }} select 1 as id",
        },
        config=TABLES + "quoting: {identifier: false, schema: false}\n",
        dbt={"schema": "DWH"},
        marts=("dwh.mart",),
        edits=(Edit(), Edit()),
    ),
    Project(
        name="reserved_words",
        files={
            "models/select.sql": 'select 1 as "from", 2 as "table", 3 as "user", 4 as "end"',
            "models/table.sql": 'select "from", "end" from {{ ref(\'select\') }}',
            "models/t.yml": "models: [{name: table, columns: [{name: end, quote: true, data_tests: [not_null]}]}]",
        },
        config=TABLES,
        marts=("dwh.table", "dwh.select"),
        tests="Fail",
        edits=(Edit(), Edit(files={"models/table.sql": 'select "from", "end", "user" from {{ ref(\'select\') }}'})),
    ),
]
