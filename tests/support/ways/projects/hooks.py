"""on-run-start and on-run-end."""

from support.ways.differences import EXIT_CODE, HOOKS_OF_A_RESUMED_RUN, SELECTION
from support.ways.project import OURS, READER, Edit, Project, Way

_NOTED = """
{% macro noted(hook) %}
{%- set told = [] %}
{%- for result in (results or []) | sort(attribute='node.unique_id') if result.node.unique_id in graph.nodes %}
{%- if result.node.resource_type != 'operation' %}
{%- do told.append([result.node.name, result.status, result.node.schema, graph.nodes[result.node.unique_id].schema] | join(' ')) %}
{%- endif %}
{%- endfor %}
insert into dwh.audit values ('{{ hook }}', '{{ invocation_id }}', '{{ schemas | sort | join(" ") if schemas else "" }}',
  '{{ database_schemas | map("last") | sort | join(" ") if database_schemas else "" }}', $${{ told | join('; ') }}$$,
  '{{ flags.WHICH }} {{ flags.FULL_REFRESH }} {{ selected_resources | select("in", graph.nodes) | sort | join(" ") }}')
{% endmacro %}
"""
_CONFIG = """
models: {+materialized: table}
on-run-start:
  - create table if not exists dwh.audit (hook text, invocation text, schemas text, pairs text, results text, asked text)
  - "{{ noted('start') }}"
on-run-end:
  - "{{ noted('end') }}"
  - "update dwh.audit set hook = 'over' where hook = 'start' and invocation = '{{ invocation_id }}'"
  - "{% for schema in schemas %}grant usage on schema {{ schema }} to {READER};{% endfor %}"
  - "{% for schema in schemas %}grant select on all tables in schema {{ schema }} to {READER};{% endfor %}"
""".replace("{READER}", READER)

_JOURNAL = "create schema dwh; create table dwh.journal (numero serial, quoi text)"
_NODE_HOOKS = """
models: {+materialized: table, +pre-hook: "{{ note('avant un modèle') }}", +post-hook: "{{ note('après ' ~ model.name) }}"}
seeds: {+pre-hook: "{{ note('avant les tarifs') }}", +post-hook: ["grant select on {{ this }} to LECTEUR", "{{ note('après ' ~ this.name) }}"]}
snapshots: {+pre-hook: "{{ note('avant le suivi') }}", +post-hook: "{{ note('après ' ~ this.include(database=false)) }}"}
""".replace("LECTEUR", READER)

PROJECTS = [
    Project(
        name="hooks_once_a_run",
        difference=HOOKS_OF_A_RESUMED_RUN,
        not_resumed=True,
        quick=True,
        files={
            "macros/noted.sql": _NOTED,
            "models/fait.sql": "{{ config(schema='faits') }} select 1 as id union all select {{ var('autre', 2) }}",
            "models/mart.sql": "select id from {{ ref('fait') }}",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [unique, not_null]}]}]",
            "models/vue.sql": "{{ config(materialized='view', schema='vues') }} select id from {{ ref('fait') }}",
        },
        config=_CONFIG,
        marts=("dwh.mart",),
        layers=(("fait",), ("mart", "vue")),
        tests="Fail",
        random={"dwh.audit": ("invocation",)},
        edits=(Edit(), Edit(files={"models/mart.sql": "select id, 1 as neuf from {{ ref('fait') }}"})),
    ),
    Project(
        name="hooks_of_every_kind_of_node",
        prepare=_JOURNAL,
        files={
            "seeds/tarifs.csv": "id,prix\n1,2\n",
            "snapshots/suivi.yml": "snapshots: [{name: suivi, relation: ref('tarifs'), config: {unique_key: id, strategy: check, check_cols: all}}]",
            "models/vue.sql": "{{ config(materialized='view', pre_hook=before_begin(note('hors de la transaction'))) }} select id from {{ ref('suivi') }}",
            "models/suite.sql": "{{ config(materialized='incremental', post_hook=[after_commit('analyze {{ this }}'), in_transaction(note('dedans'))]) }} select id from {{ ref('vue') }}",
            "models/mart.sql": "select id from {{ ref('suite') }}",
            "macros/note.sql": "{% macro note(quoi) %}insert into dwh.journal (quoi) values ('{{ quoi }}'){% endmacro %}",
        },
        config=_NODE_HOOKS,
        marts=("dwh.mart",),
        random={"dwh.suivi": ("dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_scd_id")},
    ),
    Project(
        name="hooks_of_a_package",
        difference=HOOKS_OF_A_RESUMED_RUN,
        not_resumed=True,
        prepare=_JOURNAL,
        files={
            "packages.yml": "packages: [{local: paquet}]\n",
            "paquet/dbt_project.yml": "name: paquet\nversion: '1.0.0'\nconfig-version: 2\nmodels: {+materialized: table}\n"
            "on-run-start: [\"insert into dwh.journal (quoi) values ('début du paquet')\"]\n"
            "on-run-end: [\"insert into dwh.journal (quoi) values ('fin du paquet, {{ schemas | sort | join(' ') }}')\"]\n",
            "paquet/models/base.sql": "{{ config(schema='paquets') }} select 1 as id",
            "models/mart.sql": "select id from {{ ref('base') }}",
        },
        config="models: {+materialized: table}\n"
        "on-run-start: [\"insert into dwh.journal (quoi) values ('début')\"]\non-run-end: [\"insert into dwh.journal (quoi) values ('fin')\"]\n",
        marts=("dwh.mart",),
        layers=(("base",), ("mart",)),
    ),
    Project(
        name="hooks_with_the_arguments_of_the_invocation",
        difference=HOOKS_OF_A_RESUMED_RUN,
        not_resumed=True,
        prepare=_JOURNAL,
        files={
            "models/mart.sql": "select 1 as id",
            "macros/lu.sql": "{% macro lu() %}insert into dwh.journal (quoi) values"
            " ('{{ invocation_args_dict.which }} {{ flags.WHICH }} {{ invocation_args_dict.vars.a }} {{ invocation_args_dict.get('full_refresh', false) }}'){% endmacro %}",
        },
        config="models: {+materialized: table}\non-run-start: ['{{ lu() }}']\non-run-end: ['{{ lu() }}']\n",
        dbt={"vars": {"a": 1}},
        marts=("dwh.mart",),
        edits=(Edit(full_refresh=True),),
    ),
    Project(
        name="hooks_with_the_selection_of_the_invocation",
        difference=SELECTION,
        prepare=_JOURNAL,
        files={"models/mart.sql": "select 1 as id"},
        config="models: {+materialized: table}\non-run-end: [\"insert into dwh.journal (quoi) values ('{{ invocation_args_dict.select | join }}')\"]\n",
        marts=("dwh.mart",),
        edits=(),
        differs=True,
    ),
    Project(
        name="on_run_end_without_its_role",
        files={"models/mart.sql": "select 1 as id"},
        config="models: {+materialized: table}\non-run-end: ['grant select on all tables in schema dwh to personne']\n",
        marts=("dwh.mart",),
        codes=dict.fromkeys(Way, 1),
    ),
    Project(
        name="on_run_end_that_does_not_compile",
        difference=EXIT_CODE,
        files={"models/mart.sql": "select 1 as id"},
        config="models: {+materialized: table}\non-run-end: ['{{ no_such_macro() }}']\n",
        marts=("dwh.mart",),
        codes={Way.PLAIN: 2, **dict.fromkeys(OURS, 1)},
    ),
]
