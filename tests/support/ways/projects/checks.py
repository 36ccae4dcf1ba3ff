"""Data tests of every kind, with every setting."""

from support.ways.project import Edit, Project, Way
from support.ways.projects.kinds import SOURCE, SOURCES, TABLES

PROJECTS = [
    Project(
        name="tests_of_every_kind",
        quick=True,
        prepare=SOURCE,
        files={
            "models/sources.yml": "sources: [{name: src, schema: src, tables: [{name: lignes, columns: [{name: id, data_tests: [unique]}]}]}]",
            "models/mart.sql": "select id, zone, montant from {{ source('src', 'lignes') }}",
            "models/mart_b.sql": "select id, zone from {{ ref('mart') }} where id < 10",
            "models/mart.yml": """
models:
  - name: mart
    data_tests:
      - plus_de: {arguments: {seuil: 5}}
      - plus_de: {name: plus_de_mille, arguments: {seuil: 1000}, config: {severity: warn}}
    columns:
      - name: id
        data_tests:
          - unique
          - not_null: {config: {where: "id > 0", limit: 5}}
          - relationships: {arguments: {to: ref('mart_b'), field: id}, config: {severity: error, warn_if: "> 5", error_if: "> 100"}}
      - name: zone
        data_tests:
          - accepted_values: {arguments: {values: [zone 0, zone 1]}, config: {severity: warn}}
          - accepted_values: {name: avec_calcul, arguments: {values: [zone 0]}, config: {fail_calc: "max(n_records) - 100", severity: warn}}
""",
            "tests/jamais.sql": "select * from {{ ref('mart') }} where montant < 0",
            "tests/souvent.sql": "{{ config(severity='warn', limit=3) }} select * from {{ ref('mart') }} where montant > 10",
            "tests/eteint.sql": "{{ config(enabled=false) }} select 1",
            "tests/generic/plus_de.sql": "{% test plus_de(model, seuil) %} select 1 from {{ model }} having count(*) < {{ seuil }} {% endtest %}",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.mart_b"),
        tests="Fail",
    ),
    Project(
        name="tests_that_fail_only_warn",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart.sql": "select id, zone from {{ source('src', 'lignes') }}",
            "models/mart.yml": "models: [{name: mart, columns: [{name: zone, data_tests: [unique, {not_null: {config: {severity: warn}}}]}]}]",
            "tests/casse.sql": "select * from {{ ref('mart') }} where nulle_part = 1",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Warn",
        codes={Way.PLAIN: 1},
    ),
    Project(
        name="tests_that_store_failures",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart.sql": "select id, zone from {{ source('src', 'lignes') }}",
            "models/mart.yml": "models: [{name: mart, columns: [{name: zone, data_tests: [{unique: {config: {store_failures: true}}},"
            " {not_null: {config: {store_failures_as: table, severity: warn}}}]}, {name: id, data_tests: [{unique: {config: {store_failures: true,"
            " schema: rejets, alias: doubles}}}]}]}]",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Warn",
        codes={Way.PLAIN: 1},
    ),
    Project(
        name="tests_that_store_views",
        files={
            "models/mart.sql": "select 1 as id",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [{unique: {config: {store_failures_as: view}}}]}]}]",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Warn",
        refused="store_failures_as: table",
    ),
    Project(
        name="tests_settings_of_the_project",
        files={
            "models/mart.sql": "select n as id from generate_series(1, 5) n",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [unique, {accepted_values: {arguments: {values: [1]}}}]}]}]",
        },
        config=TABLES + "data_tests: {+severity: warn, +limit: 2}\n",
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="unit_tests",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart.sql": "select zone, sum(montant) as total from {{ source('src', 'lignes') }} group by zone",
            "models/mart_b.sql": "select zone from {{ ref('mart') }}",
            "models/unit.yml": """
unit_tests:
  - name: somme
    model: mart
    given: [{input: "source('src', 'lignes')", rows: [{zone: a, montant: 1}, {zone: a, montant: 2}]}]
    expect: {rows: [{zone: a, total: "3.00"}]}
  - name: une_zone
    model: mart_b
    given: [{input: ref('mart'), format: csv, rows: "zone\\na\\n"}]
    expect: {format: csv, rows: "zone\\na\\n"}
""",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.mart_b"),
        tests="Fail",
    ),
    Project(
        name="a_test_of_the_clock",
        files={
            "models/mart.sql": "select 1 as id",
            "tests/horloge.sql": "select 1 where '{{ run_started_at.strftime('%Y-%m-%d %H') }}' <> to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24')",
            "tests/environnement.sql": "select 1 where '{{ env_var('HUMEUR', 'triste') }}' <> 'gaie'",
            "tests/sonde.sql": "-- depends_on: {{ ref('mart') }}\n{% set n = run_query('select count(*) as n from ' ~ ref('mart'))[0][0] if execute else 0 %} select 1 where {{ n }} <> 1",
        },
        config=TABLES,
        marts=("dwh.mart",),
        env={"HUMEUR": "gaie"},
        tests="Fail",
    ),
    Project(
        name="a_test_materialization_of_its_own",
        files={
            "models/mart.sql": "select n as id from generate_series(1, 5) n",
            "tests/toujours.sql": "select * from {{ ref('mart') }}",
            "macros/test.sql": "{% materialization test, default %}{% call statement('main', fetch_result=True) %}"
            " select 0 as failures, false as should_warn, false as should_error {% endcall %}{{ return({'relations': []}) }}{% endmaterialization %}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="a_generic_test_replaced",
        files={
            "models/mart.sql": "select 1 as id union all select 1",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [unique]}]}]",
            "macros/unique.sql": "{% macro default__test_unique(model, column_name) %} select 1 where false {% endmacro %}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Fail",
        edits=(Edit(),),
    ),
]
