"""Every materialization and kind of node that dbt builds."""

from support.ways.differences import NEVER_BUILT
from support.ways.project import Edit, Project, Way

SOURCE = """
create schema src;
create table src.lignes (id integer primary key, zone text, montant numeric(10, 2), mise_a_jour timestamp);
insert into src.lignes select n, 'zone ' || n % 3, n * 1.5, timestamp '2026-01-01' + n * interval '1 hour' from generate_series(1, 20) n;
"""
SOURCES = """
sources:
  - {name: src, schema: src, tables: [{name: lignes}]}
"""
CHANGED = """
update src.lignes set montant = 0, mise_a_jour = timestamp '2026-02-01' where id <= 3;
delete from src.lignes where id = 20;
insert into src.lignes values (21, 'zone 0', 99, timestamp '2026-02-01');
"""
TABLES = "models: {+materialized: table}\n"
_ON_IT = "select zone, sum(montant) as total from {{ ref('suite') }} group by zone"


def incremental(name: str, config: str, where: str = "", *, quick: bool = False) -> Project:
    """Return a mart on an incremental model whose source changes twice."""
    condition = "{% if is_incremental() %} where " + where + " {% endif %}" if where else ""
    return Project(
        name=name,
        quick=quick,
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/suite.sql": f"{{{{ config(materialized='incremental', {config}) }}}}\n"
            f"select id, zone, montant, mise_a_jour from {{{{ source('src', 'lignes') }}}}{condition}",
            "models/mart.sql": _ON_IT,
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED), Edit()),
    )


def snapshot(name: str, config: str, *, quick: bool = False) -> Project:
    """Return a mart on a snapshot whose source changes."""
    return Project(
        name=name,
        quick=quick,
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "snapshots/suivi.yml": "snapshots:\n  - name: suivi\n    relation: source('src', 'lignes')\n"
            f"    config: {{unique_key: id, {config}}}\n",
            "models/mart.sql": "select zone, count(*) as n, count(dbt_valid_to) as closes from {{ ref('suivi') }} group by zone",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED),),
        random={"dwh.suivi": ("dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_scd_id")},
    )


PROJECTS = [
    Project(
        name="seed_with_types",
        files={
            "seeds/tarifs.csv": "code,prix,depuis,actif\n001,1.50,2026-01-01,true\n002,,2026-02-01,false\n",
            "models/mart.sql": "select code, prix, depuis, actif from {{ ref('tarifs') }}",
        },
        config="""
seeds:
  essai: {tarifs: {+column_types: {code: varchar(8), prix: 'numeric(8,2)', depuis: date, actif: boolean}}}
models: {+materialized: table}
""",
        marts=("dwh.mart",),
        edits=(Edit(files={"seeds/tarifs.csv": "code,prix,depuis,actif\n001,1.75,2026-01-01,true\n"}),),
    ),
    Project(
        name="seed_as_dbt_takes_it",
        files={
            "seeds/sous/bizarre.csv": 'a;b;c d\n1;"x;y";2026-01-01\n2;é\'";\n',
            "seeds/bizarre.yml": "seeds: [{name: bizarre, config: {delimiter: ';', quote_columns: true, full_refresh: true}}]",
            "models/mart.sql": "select * from {{ ref('bizarre') }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
    snapshot("snapshot_by_time", "strategy: timestamp, updated_at: mise_a_jour", quick=True),
    snapshot("snapshot_by_columns", "strategy: check, check_cols: [zone, montant]"),
    snapshot("snapshot_of_all_columns", "strategy: check, check_cols: all, hard_deletes: invalidate"),
    snapshot("snapshot_with_deleted_rows", "strategy: timestamp, updated_at: mise_a_jour, hard_deletes: new_record"),
    snapshot("snapshot_by_time_with_closed_rows", "strategy: timestamp, updated_at: mise_a_jour, hard_deletes: invalidate"),
    snapshot("snapshot_by_columns_with_deleted_rows", "strategy: check, check_cols: [zone, montant], hard_deletes: new_record"),
    snapshot("snapshot_without_end", "strategy: timestamp, updated_at: mise_a_jour, dbt_valid_to_current: \"timestamp '9999-12-31'\""),
    Project(
        name="snapshot_in_a_block",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "snapshots/suivi.sql": "{% snapshot suivi %}{{ config(target_schema='photos', unique_key='id', strategy='check', check_cols=['zone']) }}"
            " select id, zone from {{ source('src', 'lignes') }} {% endsnapshot %}",
            "models/mart.sql": "select id, zone from {{ ref('suivi') }} where dbt_valid_to is null",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED + "update src.lignes set zone = 'autre' where id = 5"),),
        random={"photos.suivi": ("dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_scd_id")},
    ),
    snapshot("snapshot_elsewhere", "strategy: timestamp, updated_at: mise_a_jour, schema: photos, alias: suivi_des_lignes"),
    incremental("incremental_append", "incremental_strategy='append'", "id > (select max(id) from {{ this }})"),
    incremental("incremental_merge", "incremental_strategy='merge', unique_key='id'"),
    incremental(
        "incremental_merge_of_two_keys", "incremental_strategy='merge', unique_key=['id', 'zone'], merge_update_columns=['montant']"
    ),
    incremental("incremental_delete_insert", "incremental_strategy='delete+insert', unique_key='id'", "mise_a_jour > '2026-01-15'"),
    incremental(
        "incremental_with_predicates",
        "incremental_strategy='delete+insert', unique_key='id', incremental_predicates=[\"mise_a_jour < '2026-01-15'\"]",
        "mise_a_jour > '2026-01-15'",
    ),
    Project(
        name="incremental_by_a_strategy_of_its_own",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/suite.sql": "{{ config(materialized='incremental', incremental_strategy='remplace') }} select * from {{ source('src', 'lignes') }}",
            "models/mart.sql": _ON_IT,
            "macros/remplace.sql": "{% macro get_incremental_remplace_sql(arg_dict) %} delete from {{ arg_dict['target_relation'] }};"
            " insert into {{ arg_dict['target_relation'] }} select * from {{ arg_dict['temp_relation'] }} {% endmacro %}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED),),
    ),
    Project(
        name="full_refresh_of_everything",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "seeds/tarifs.csv": "a,b\n1,2\n",
            "models/suite.sql": "{{ config(materialized='incremental', unique_key='id') }}"
            " select id, zone, montant, '{{ flags.FULL_REFRESH }}' as complet from {{ source('src', 'lignes') }} {% if is_incremental() %} where false {% endif %}",
            "models/garde.sql": "{{ config(materialized='incremental', full_refresh=false) }} select id from {{ source('src', 'lignes') }}"
            " {% if is_incremental() %} where false {% endif %}",
            "models/vue.sql": "{{ config(materialized='materialized_view') }} select id from {{ source('src', 'lignes') }}",
            "models/mart.sql": _ON_IT,
            "models/mart_b.sql": "select s.id from {{ ref('garde') }} s join {{ ref('vue') }} using (id) cross join {{ ref('tarifs') }}",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.mart_b", "dwh.suite"),
        edits=(Edit(CHANGED), Edit(files={"seeds/tarifs.csv": "a,b,c\n1,2,3\n"}, full_refresh=True), Edit()),
    ),
    incremental("incremental_full_refresh", "unique_key='id', full_refresh=true"),
    incremental("incremental_never_refreshed", "unique_key='id', full_refresh=false"),
    Project(
        name="incremental_microbatch",
        prepare=SOURCE + "update src.lignes set mise_a_jour = now() at time zone 'UTC' - interval '1 day' where id < 3;",
        files={
            "models/sources.yml": "sources: [{name: src, schema: src, tables: [{name: lignes, config: {event_time: mise_a_jour}}]}]",
            "models/suite.sql": "{{ config(materialized='incremental', incremental_strategy='microbatch', unique_key='id',"
            " event_time='mise_a_jour', batch_size='day', lookback=1, begin=(modules.datetime.datetime.now()"
            " - modules.datetime.timedelta(days=2)).strftime('%Y-%m-%d')) }} select * from {{ source('src', 'lignes') }}",
            "models/mart.sql": _ON_IT,
        },
        config=TABLES,
        marts=("dwh.mart",),
        random={"dwh.suite": ("mise_a_jour",), "src.lignes": ("mise_a_jour",)},
        edits=(Edit("update src.lignes set mise_a_jour = now() at time zone 'UTC' - interval '1 minute' where id < 5"),),
    ),
    Project(
        name="incremental_schema_change",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/suite.sql": "{{ config(materialized='incremental', unique_key='id', on_schema_change='sync_all_columns') }}"
            " select id, zone, montant from {{ source('src', 'lignes') }}",
            "models/mart.sql": "select * from {{ ref('suite') }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(
                CHANGED,
                {
                    "models/suite.sql": "{{ config(materialized='incremental', unique_key='id', on_schema_change='sync_all_columns') }}"
                    " select id, montant, mise_a_jour, 1::bigint as de_plus from {{ source('src', 'lignes') }}"
                },
            ),
            Edit(),
        ),
    ),
    Project(
        name="ephemeral_in_a_row",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/un.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('src', 'lignes') }}",
            "models/deux.sql": "{{ config(materialized='ephemeral') }} select id, zone from {{ ref('un') }}",
            "models/mart_a.sql": "select * from {{ ref('deux') }}",
            "models/mart_b.sql": "select a.id, d.zone from {{ ref('mart_a') }} a join {{ ref('deux') }} d using (id)",
            "models/tests.yml": "models: [{name: deux, columns: [{name: id, data_tests: [unique, not_null]}]}]",
        },
        config=TABLES,
        marts=("dwh.mart_a", "dwh.mart_b"),
        tests="Fail",
        edits=(Edit(CHANGED),),
    ),
    Project(
        name="view_below_a_mart",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/vue.sql": "{{ config(materialized='view', contract={'enforced': true}) }} select id, zone from {{ source('src', 'lignes') }}",
            "models/vue.yml": "models: [{name: vue, columns: [{name: id, data_type: integer}, {name: zone, data_type: text}]}]",
            "models/mart.sql": "select * from {{ ref('vue') }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED), Edit()),
    ),
    Project(
        name="materialized_view_below_a_mart",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/vue.sql": "{{ config(materialized='materialized_view', indexes=[{'columns': ['id'], 'unique': true}]) }}"
            " select id, zone from {{ source('src', 'lignes') }}",
            "models/mart.sql": "select * from {{ ref('vue') }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(CHANGED), Edit(files={"models/mart.sql": "select id, zone, 1 as de_plus from {{ ref('vue') }}"})),
    ),
    Project(
        # dbt keeps the columns of an index to alter in a set, so an index of two has them in any order. It cannot add one with a `type`.
        name="materialized_view_that_changes",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/vue.sql": "{{ config(indexes=[{'columns': ['id']}]) }} select id, zone from {{ source('src', 'lignes') }}",
            "models/mart.sql": "select count(*) as n from {{ ref('vue') }}",
        },
        config="models: {+materialized: table, essai: {vue: {+materialized: materialized_view, +on_configuration_change: apply}}}\n",
        marts=("dwh.mart",),
        edits=(
            Edit(
                CHANGED,
                {
                    "models/vue.sql": "{{ config(indexes=[{'columns': ['id'], 'unique': true}, {'columns': ['zone']}]) }} select id, zone from {{ source('src', 'lignes') }}"
                },
            ),
            Edit(files={"models/vue.sql": "select id, zone, montant from {{ source('src', 'lignes') }}"}, full_refresh=True),
        ),
    ),
    Project(
        name="model_versions",
        quick=True,
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/client_v1.sql": "select id, zone from {{ source('src', 'lignes') }}",
            "models/client_v2.sql": "select id, zone, montant from {{ source('src', 'lignes') }}",
            "models/client.yml": """
models:
  - name: client
    latest_version: 2
    config: {materialized: table}
    columns: [{name: id, data_type: integer, data_tests: [not_null]}, {name: zone, data_type: text}]
    versions: [{v: 1, deprecation_date: 2099-01-01}, {v: 2, config: {alias: client}}]
""",
            "models/mart.sql": "select v1.id, v2.montant from {{ ref('client', v=1) }} v1 join {{ ref('client') }} v2 using (id)",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.client", "dwh.client_v1"),
        tests="Fail",
        edits=(Edit(CHANGED),),
    ),
    Project(
        name="groups_and_access",
        files={
            "models/prive.sql": "select 1 as id",
            "models/mart.sql": "select * from {{ ref('prive') }}",
            "models/acces.yml": """
groups: [{name: finances, owner: {name: Finances, email: finances@example.org}}]
models:
  - {name: prive, config: {group: finances, access: private}}
  - {name: mart, config: {group: finances, access: public}}
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
    Project(
        name="python_model",
        difference=NEVER_BUILT,
        files={
            "models/mart.sql": "select 1 as id",
            "models/serpent.py": "def model(dbt, session):\n    return dbt.ref('mart')\n",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(),
        refused="serpent is a Python model, which dbt cannot run on PostgreSQL: write it in SQL",
        refused_by=(Way.DIRECT, Way.SWAP, Way.PARSED),
        codes={Way.PLAIN: 1},
    ),
    Project(
        name="unlogged_and_indexed",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart_a.sql": "{{ config(unlogged=true) }} select * from {{ source('src', 'lignes') }}",
            "models/mart_b.sql": "{{ config(indexes=[{'columns': ['id'], 'unique': true}, {'columns': ['zone', 'id'], 'type': 'btree'},"
            " {'columns': ['zone'], 'type': 'hash'}]) }} select * from {{ source('src', 'lignes') }}",
        },
        config=TABLES,
        marts=("dwh.mart_a", "dwh.mart_b"),
        edits=(
            Edit(CHANGED),
            Edit(
                files={
                    "models/mart_a.sql": "select * from {{ source('src', 'lignes') }}",
                    "models/mart_b.sql": "{{ config(unlogged=true, indexes=[{'columns': ['montant']}]) }}"
                    " select * from {{ source('src', 'lignes') }}",
                }
            ),
        ),
    ),
    Project(
        name="functions",
        files={
            "functions/double.sql": "select n * 2",
            "functions/double.yml": "functions: [{name: double, arguments: [{name: n, data_type: integer}], returns: {data_type: integer}}]",
            "models/mart.sql": "select {{ function('double') }}(id) as id from generate_series(1, 3) as s(id)",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
]
