"""on-run-start and on-run-end."""

from support.ways.project import READER, Edit, Project, Way

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

PROJECTS = [
    Project(
        name="hooks_once_a_run",
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
        name="on_run_end_without_its_role",
        files={"models/mart.sql": "select 1 as id"},
        config="models: {+materialized: table}\non-run-end: ['grant select on all tables in schema dwh to personne']\n",
        marts=("dwh.mart",),
        codes=dict.fromkeys(Way, 1),
    ),
    Project(
        name="on_run_end_that_does_not_compile",
        files={"models/mart.sql": "select 1 as id"},
        config="models: {+materialized: table}\non-run-end: ['{{ no_such_macro() }}']\n",
        marts=("dwh.mart",),
        codes={Way.PLAIN: 2, Way.DIRECT: 1, Way.SWAP: 1, Way.PARSED: 1},
    ),
]
