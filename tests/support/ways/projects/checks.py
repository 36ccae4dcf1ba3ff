"""Data tests of every kind, with every setting."""

from support.ways.differences import FAILING_TESTS, STORED_VIEW
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
        difference=FAILING_TESTS,
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
        difference=FAILING_TESTS,
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
        difference=STORED_VIEW,
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
        name="unit_tests_with_overrides",
        files={
            "models/lignes.sql": "select 1 as id, 'a' as zone",
            "models/suite.sql": "{{ config(materialized='incremental', unique_key='id') }} select id, '{{ var('monnaie', 'euro') }}' as monnaie,"
            " '{{ env_var('HUMEUR', 'triste') }}' as humeur, '{{ note() }}' as note from {{ ref('lignes') }}"
            " {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}",
            "models/mart.sql": "select * from {{ ref('suite') }}",
            "macros/note.sql": "{% macro note() %}de la macro{% endmacro %}",
            "tests/fixtures/trois_lignes.csv": "id,zone\n1,a\n2,b\n3,c\n",
            "models/unit.yml": """
unit_tests:
  - name: la_suite_seule
    model: suite
    overrides: {macros: {is_incremental: true, note: du test}, vars: {monnaie: franc}, env_vars: {HUMEUR: gaie}}
    given: [{input: ref('lignes'), format: csv, fixture: trois_lignes}, {input: this, format: sql, rows: "select 2 as id"}]
    expect: {rows: [{id: 3, monnaie: franc, humeur: gaie, note: du test}]}
  - name: la_suite_entiere
    model: suite
    overrides: {macros: {is_incremental: false}}
    given: [{input: ref('lignes'), format: csv, fixture: trois_lignes}]
    expect: {rows: [{id: 1}, {id: 2}, {id: 3}]}
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="singular_tests_with_every_setting",
        files={
            "models/mart.sql": "select n as id, 'zone ' || n % 3 as zone from generate_series(1, 12) n",
            "tests/trop.sql": "{{ config(severity='warn', limit=5) }} select id from {{ ref('mart') }}",
            "tests/assez.sql": "{{ config(warn_if='>= 3', error_if='> 10') }} select zone from {{ ref('mart') }} group by zone",
            "tests/somme.sql": "{{ config(fail_calc='coalesce(sum(id), 0)', error_if='> 100', warn_if='> 77') }} select id from {{ ref('mart') }}",
            "tests/garde.sql": "{{ config(severity='warn', store_failures=true, alias='gardees', schema='rejets') }} select id from {{ ref('mart') }} where id > 10",
            "tests/garde_aussi.sql": "{{ config(severity='warn', store_failures_as='table', limit=2) }} select id, zone from {{ ref('mart') }}",
            "tests/sans_trace.sql": "{{ config(severity='warn', store_failures_as='ephemeral') }} select id from {{ ref('mart') }} where id = 1",
        },
        config=TABLES + "data_tests: {+store_failures: false}\n",
        marts=("dwh.mart",),
        tests="Fail",
        edits=(Edit(files={"models/mart.sql": "select n as id, 'zone ' || n % 2 as zone from generate_series(1, 11) n"}),),
    ),
    Project(
        name="generic_tests_of_the_project",
        files={
            "models/mart.sql": "select n as id, 'zone ' || n % 3 as zone from generate_series(1, 12) n",
            "models/mart.yml": """
models:
  - name: mart
    data_tests: [entre: {arguments: {column_name: id, bas: 1, haut: 12}, config: {tags: [bornes]}}]
    columns:
      - {name: id, data_tests: [entre: {arguments: {bas: 1, haut: 11}, config: {severity: warn}}]}
      - {name: zone, data_tests: [pas_vide, not_null: {name: zone_connue, description: toujours}]}
""",
            "macros/tests.sql": "{% test entre(model, column_name, bas, haut) %}{{ config(warn_if='> 0', error_if='> 5') }}"
            " select * from {{ model }} where {{ column_name }} not between {{ bas }} and {{ haut }} {% endtest %}",
            "tests/generic/pas_vide.sql": "{% test pas_vide(model, column_name) %} select {{ column_name }} from {{ model }} where {{ column_name }} = '' {% endtest %}",
        },
        config=TABLES,
        marts=("dwh.mart",),
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
