"""Models that read their own live table, or name a live table without `ref`."""

from support.ways.differences import LIVE_NAME, PRE_HOOK
from support.ways.project import READER, Edit, Project

_TABLES = "models: {+materialized: table}\n"
_HISTORY = """
select {{ var('run', 1) }} + {% if load_relation(this) %}(select max(run) from {{ this }}){% else %}0{% endif %} as run
{% if load_relation(this) %}union all select run from {{ this }}{% endif %}
"""
_BY_ADAPTER = """
{%- set before = adapter.get_relation(this.database, this.schema, this.identifier) %}
{%- set found = run_query('select count(*) from ' ~ before) if before and execute else none %}
select {{ found.columns[0].values()[0] + 1 if found else 1 }} as runs, '{{ model.schema }}.{{ model.alias }}' as place
"""
_WORDS = "which this run builds beside the live table and publishes at its end"
_AUDIT = "create table dwh.audit (n integer); create schema autres; create table autres.audit (n integer); create table autres.places (a text, b text, n int)"

_HOOKED = """
{{ config(post_hook=[
    "insert into dwh.audit select count(*) from {{ this }}",
    "grant usage on schema {{ this.schema }} to LECTEUR",
    "grant select on all tables in schema {{ this.schema }} to LECTEUR",
    "grant select on {{ this.schema }}.{{ this.identifier }} to LECTEUR",
    "comment on table {{ this }} is 'de dwh.mart, voir dwh.mart'",
    "alter table {{ this }} add primary key (id)",
    "insert into autres.audit select id from {{ this }}",
    "insert into autres.places select '{{ this.include(database=false) }}', '{{ this.schema }}.{{ this.name }}', count(*) from {{ this }}"
]) }}
-- not dwh.mart, which is live
select 1 as id, 'dwh.mart' as texte
""".replace("LECTEUR", READER)

PROJECTS = [
    Project(
        name="history_by_union",
        quick=True,
        files={
            "models/mart.sql": _HISTORY,
            "models/lecteur.sql": "select count(*) as n from {{ ref('mart') }}",
            "models/mart.yml": "models: [{name: mart, columns: [{name: run, data_tests: [unique]}]}]",
        },
        config=_TABLES,
        marts=("dwh.mart", "dwh.lecteur"),
        tests="Fail",
        edits=(
            Edit(),
            Edit(),
            Edit(files={"models/mart.sql": _HISTORY.replace("as run", "as run, 1 as neuf", 1).replace("select run", "select run, 2")}),
        ),
    ),
    Project(
        name="history_by_the_adapter",
        files={"models/mart.sql": _BY_ADAPTER},
        config=_TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit()),
    ),
    Project(
        name="history_by_its_own_name",
        files={"models/mart.sql": "select {% if load_relation(this) %}(select max(n) from dwh.mart) + {% endif %}1 as n"},
        config=_TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit()),
    ),
    Project(
        name="another_mart_by_the_adapter",
        files={
            "models/mart.sql": "select 1 as n",
            "models/lecteur.sql": "-- depends_on: {{ ref('mart') }}\nselect n from {{ adapter.get_relation(database, 'dwh', 'mart') }}",
        },
        config=_TABLES,
        marts=("dwh.mart", "dwh.lecteur"),
        edits=(Edit(files={"models/mart.sql": "select 2 as n"}),),
    ),
    Project(
        name="post_hooks_of_a_mart",
        files={
            "models/mart.sql": _HOOKED,
        },
        config=_TABLES + "on-run-start: ['create schema if not exists dwh']\n",
        prepare="create schema dwh; " + _AUDIT,
        marts=("dwh.mart",),
        edits=(Edit(), Edit(files={"models/mart.sql": _HOOKED + ", 2 as neuf"})),
    ),
    Project(
        name="a_schema_of_which_a_hook_speaks_first",
        files={"models/mart.sql": "{{ config(post_hook='grant usage on schema {{ this.schema }} to " + READER + "') }} select 1 as id"},
        config=_TABLES,
        marts=("dwh.mart",),
    ),
    Project(
        name="post_hook_with_the_live_name",
        difference=LIVE_NAME,
        quick=True,
        files={"models/mart.sql": "{{ config(post_hook='create index if not exists i on dwh.mart (id)') }} select 1 as id"},
        config=_TABLES,
        marts=("dwh.mart",),
        refused=f"the post-hook of mart names dwh.mart, {_WORDS}",
    ),
    Project(
        name="post_hook_with_the_live_name_by_a_macro",
        difference=LIVE_NAME,
        files={
            "macros/indexe.sql": "{% macro indexe() %}create index if not exists i on {{ 'dwh' }}.mart (id){% endmacro %}"
            "{% macro indexe_aussi() %}create index if not exists i on dwh.mart (id){% endmacro %}",
            "models/mart.sql": "{{ config(post_hook='{{ indexe_aussi() }}') }} select 1 as id",
        },
        config=_TABLES,
        marts=("dwh.mart",),
        refused=f"by the macro indexe_aussi, names dwh.mart, {_WORDS}",
    ),
    Project(
        name="pre_hook_with_this",
        difference=PRE_HOOK,
        files={
            "models/mart.sql": "{{ config(pre_hook='select 1 {% if load_relation(this) %}from {{ this }}{% endif %}') }} select 1 as id"
        },
        config=_TABLES,
        marts=("dwh.mart",),
        refused="the pre-hook of mart names `this`",
    ),
    Project(
        name="a_mart_by_its_name",
        difference=LIVE_NAME,
        files={
            "models/mart.sql": "select 1 as id",
            "models/lecteur.sql": '-- depends_on: {{ ref("mart") }}\nselect id from "dwh"."mart"',
        },
        config=_TABLES,
        marts=("dwh.mart", "dwh.lecteur"),
        refused=f"lecteur names dwh.mart, {_WORDS}",
    ),
    Project(
        name="a_mart_by_a_source",
        difference=LIVE_NAME,
        files={
            "models/mart.sql": "select 1 as id",
            "models/lecteur.sql": "-- depends_on: {{ ref('mart') }}\nselect id from {{ source('dwh', 'mart') }}",
            "models/sources.yml": "sources: [{name: dwh, tables: [{name: mart}]}]",
        },
        config=_TABLES,
        marts=("dwh.mart", "dwh.lecteur"),
        refused=f"by the source dwh.mart, names dwh.mart, {_WORDS}",
    ),
    Project(
        name="a_test_with_the_live_name",
        difference=LIVE_NAME,
        files={"models/mart.sql": "select 1 as id", "tests/positif.sql": "select id from dwh.mart where id < 0"},
        config=_TABLES,
        marts=("dwh.mart",),
        tests="Warn",
        # `dbt build` does not know that the test reads the mart, and may run it first.
        commands=(("run",), ("test",)),
        refused=f"positif names dwh.mart, {_WORDS}",
    ),
]
