"""Macros, hooks, packages, variables and flags."""

from support.ways.differences import HOOKS_OF_A_RESUMED_RUN, LIVE_NAME, SET_BY_HAND
from support.ways.project import READER, Edit, Project
from support.ways.projects.kinds import CHANGED, SOURCE, SOURCES, TABLES

_LOG = """
{% macro note(quoi) %}
  insert into {{ target.schema }}.journal values ('{{ quoi }}')
{% endmacro %}
"""
_JOURNAL = "create schema dwh; create table dwh.journal (quoi text, quand timestamptz default now());"

PROJECTS = [
    Project(
        name="names_by_macros",
        files={
            "models/marts/mart.sql": "{{ config(schema='rapport', alias='principal') }} select 1 as id",
            "models/autre.sql": "{{ config(database=target.database) }} select * from {{ ref('mart') }}",
            "macros/names.sql": """
{% macro generate_schema_name(name, node) %}{{ (name or target.schema) ~ '_' ~ target.name }}{% endmacro %}
{% macro generate_alias_name(name, node) %}{{ 'x_' ~ (name or node.name) }}{% endmacro %}
{% macro generate_database_name(name, node) %}{{ name or target.database }}{% endmacro %}
""",
        },
        config=TABLES,
        marts=("rapport_prod.x_principal", "dwh_prod.x_autre"),
    ),
    Project(
        name="a_materialization_of_its_own",
        files={
            "models/base.sql": "{{ config(materialized='deux_fois') }} select 1 as id",
            "models/mart.sql": "select * from {{ ref('base') }}",
            "macros/deux_fois.sql": """
{% materialization deux_fois, default %}
  {% set cible = this.incorporate(type='table') %}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') %}
    drop table if exists {{ cible }};
    create table {{ cible }} as ({{ sql }}) union all ({{ sql }})
  {% endcall %}
  {{ run_hooks(post_hooks) }}
  {% do adapter.commit() %}
  {{ return({'relations': [cible]}) }}
{% endmaterialization %}
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
    Project(
        name="hooks_of_the_run",
        difference=HOOKS_OF_A_RESUMED_RUN,
        not_resumed=True,
        prepare=_JOURNAL,
        files={
            "models/mart.sql": "select 1 as id",
            "models/vue.sql": "{{ config(materialized='view') }} select 1 as id",
            "macros/note.sql": _LOG,
        },
        config=TABLES + "on-run-start: [\"{{ note('début') }}\"]\non-run-end: [\"{{ note('fin') }}\"]\n",
        layers=(("vue",), ("mart",)),
        marts=("dwh.mart",),
        random={"dwh.journal": ("quand",)},
    ),
    Project(
        name="hooks_that_look_at_the_run",
        difference=HOOKS_OF_A_RESUMED_RUN,
        not_resumed=True,
        prepare=_JOURNAL,
        files={
            "models/mart.sql": "select 1 as id",
            "models/autre.sql": "{{ config(schema='b') }} select * from {{ ref('mart') }}",
            "macros/fin.sql": """
{% macro fin(results, schemas, database_schemas) %}{% if execute %}
  {% set lignes = [] %}
  {% for r in results | sort(attribute='node.unique_id') %}{% do lignes.append(r.node.unique_id ~ ' ' ~ r.status ~ ' ' ~ r.node.schema ~ '.' ~ r.node.alias) %}{% endfor %}
  {% do lignes.append('schemas ' ~ schemas | sort | join(',')) %}
  {% for d, s in database_schemas | sort %}{% do lignes.append('database_schemas ' ~ s) %}{% endfor %}
  {% for n in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | sort(attribute='name') %}{% do lignes.append('graph ' ~ n.schema ~ '.' ~ n.alias) %}{% endfor %}
  {% for ligne in lignes %} insert into {{ target.schema }}.journal values ('{{ ligne }}'); {% endfor %}
{% endif %}{% endmacro %}
""",
        },
        config=TABLES + "on-run-end: ['{{ fin(results, schemas, database_schemas) }}']\n",
        marts=("dwh.mart", "dwh_b.autre"),
        random={"dwh.journal": ("quand",)},
    ),
    Project(
        name="hooks_that_grant",
        files={"models/mart.sql": "select 1 as id", "models/vue.sql": "{{ config(materialized='view') }} select 1 as id"},
        config=TABLES
        + f'on-run-end: ["{{% for s in schemas %}}grant usage on schema {{{{ s }}}} to {READER};'
        + f' grant select on all tables in schema {{{{ s }}}} to {READER};{{% endfor %}}"]\n',
        marts=("dwh.mart",),
        edits=(Edit(), Edit(files={"models/mart.sql": "select 1 as id, 2 as de_plus"})),
    ),
    Project(
        name="hooks_of_models",
        prepare=_JOURNAL,
        files={
            "models/mart.sql": "{{ config(pre_hook=[note('avant'), {'sql': note('hors'), 'transaction': false}], post_hook=["
            '"comment on table {{ this }} is \'par un hook\'", "create index on {{ this }} (id)",'
            f" \"grant select on {{{{ this }}}} to {READER}\", {{'sql': 'analyze {{{{ this }}}}', 'transaction': false}}]) }}}} select 1 as id",
            "models/suite.sql": "{{ config(materialized='incremental', post_hook=\"delete from {{ this }} where id > 2\") }}"
            " select id from generate_series(1, 3) s(id)",
            "macros/note.sql": _LOG,
        },
        config=TABLES,
        marts=("dwh.mart",),
        random={"dwh.journal": ("quand",)},
    ),
    Project(
        name="a_hook_that_alters_the_mart",
        difference=SET_BY_HAND,
        files={
            "models/mart.sql": "{{ config(post_hook=['alter table {{ this }} add primary key (id)', 'alter table {{ this }} alter nom set not null',"
            " \"alter table {{ this }} alter nom set default 'x'\", 'alter table {{ this }} set (fillfactor = 80)',"
            " 'alter table {{ this }} add constraint court check (length(nom) < 10)']) }} select id, 'n' || id as nom from generate_series(1, 3) s(id)",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(),
            Edit(
                files={
                    "models/mart.sql": "{{ config(post_hook='alter table {{ this }} set (fillfactor = 60)') }} select 1 as id, 'n' as nom"
                }
            ),
        ),
        differs=True,
    ),
    Project(
        name="a_hook_that_names_the_live_table",
        difference=LIVE_NAME,
        files={
            "models/mart.sql": "{{ config(post_hook='update dwh.mart set n = n + 1') }} select 1 as n",
        },
        config=TABLES,
        marts=("dwh.mart",),
        refused="dwh.mart",
    ),
    Project(
        name="a_table_that_reads_itself",
        files={
            "models/mart.sql": "{% set la = adapter.get_relation(this.database, this.schema, this.identifier) %}"
            " select {% if la %} (select count(*) from {{ this }}) {% else %} 0 {% endif %} as n"
            " {% if la %} union all select n from {{ this }} {% endif %}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit()),
    ),
    Project(
        name="a_local_package_with_dispatch",
        quick=True,
        files={
            "packages.yml": "packages: [{local: paquet}]\n",
            "paquet/dbt_project.yml": "name: paquet\nversion: '1.0.0'\nconfig-version: 2\nmodels: {+materialized: table}\nvars: {du_paquet: 5}\n",
            "paquet/models/du_paquet.sql": "select {{ var('du_paquet') }} as n, '{{ valeur() }}' as v",
            "paquet/models/eteint.sql": "select casse",
            "paquet/macros/valeur.sql": "{% macro valeur() %}{{ return(adapter.dispatch('valeur', 'paquet')()) }}{% endmacro %}"
            "{% macro default__valeur() %}du paquet{% endmacro %}",
            "macros/valeur.sql": "{% macro postgres__valeur() %}du projet{% endmacro %}",
            "models/mart.sql": "select * from {{ ref('paquet', 'du_paquet') }}",
        },
        config=TABLES[:-2]
        + ", paquet: {+schema: paquets, eteint: {+enabled: false}}}\nvars: {paquet: {du_paquet: 7}}\n"
        + "dispatch: [{macro_namespace: paquet, search_order: [essai, paquet]}]\n",
        marts=("dwh.mart", "dwh_paquets.du_paquet"),
    ),
    Project(
        name="packages_that_are_installed",
        files={
            "packages.yml": 'packages:\n  - {package: exemple/du_hub, version: [">=1.0.0", "<2.0.0"]}\n'
            "  - {git: 'https://git.example.org/de_git.git', revision: v1.2.0, subdirectory: dbt}\n"
            "  - {tarball: 'https://archives.example.org/d_une_archive.tar.gz', name: d_une_archive}\n",
            "package-lock.yml": "packages:\n  - {package: exemple/du_hub, version: 1.4.0}\n"
            "  - {git: 'https://git.example.org/de_git.git', revision: v1.2.0, subdirectory: dbt}\n"
            "  - {tarball: 'https://archives.example.org/d_une_archive.tar.gz', name: d_une_archive}\n"
            "sha1_hash: 0000000000000000000000000000000000000000\n",
            **{
                f"dbt_packages/{name}/{path}": text
                for name in ("du_hub", "de_git", "d_une_archive")
                for path, text in {
                    "dbt_project.yml": f"name: {name}\nversion: '1.4.0'\nconfig-version: 2\nmodels: {{+materialized: table}}\n",
                    f"models/base_{name}.sql": f"select 1 as id, '{{{{ {name}.note() }}}}' as note",
                    f"models/base_{name}.yml": f"models: [{{name: base_{name}, columns: [{{name: id, data_tests: [unique, {name}.jamais]}}]}}]",
                    "macros/note.sql": f"{{% macro note() %}}{name}{{% endmacro %}}{{% test jamais(model, column_name) %}} select 1 where false {{% endtest %}}",
                }.items()
            },
            "models/mart.sql": "select a.note as a, b.note as b, c.note as c from {{ ref('du_hub', 'base_du_hub') }} a"
            " join {{ ref('base_de_git') }} b using (id) join {{ ref('base_d_une_archive') }} c using (id)",
        },
        config=TABLES + "vars: {}\n",
        marts=("dwh.mart", "dwh.base_du_hub"),
        tests="Fail",
    ),
    Project(
        name="macros_of_dbt_replaced",
        files={
            "models/mart.sql": "select {{ dbt.safe_cast(\"'1'\", 'integer') }} as id, {{ dbt.concat([\"'a'\", \"'b'\"]) }} as nom",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [not_null: {config: {where: sans_condition}}]}]}]",
            "macros/a_nous.sql": "{% macro default__safe_cast(field, type) %}coalesce({{ field }}::{{ type }}, 0) + 1{% endmacro %}"
            "{% macro postgres__concat(fields) %}{{ fields | join(\" || '-' || \") }}{% endmacro %}"
            "{% macro default__get_where_subquery(relation) %}{{ relation }}{% endmacro %}",
        },
        config=TABLES + "dispatch: [{macro_namespace: dbt, search_order: [essai, dbt]}]\n",
        marts=("dwh.mart",),
        tests="Fail",
    ),
    Project(
        name="schemas_by_a_macro",
        quick=True,
        files={
            "models/vue.sql": "{{ config(materialized='view', schema='vues') }} select 1 as id",
            "models/mart.sql": "select id from {{ ref('vue') }}",
            "models/mart_b.sql": "{{ config(schema='rapport') }} select id from {{ ref('mart') }}",
            "macros/create_schema.sql": "{% macro create_schema(relation) %}{% call statement('create_schema') %}"
            " create schema if not exists {{ relation.without_identifier().include(database=false) }};"
            f" grant usage on schema {{{{ relation.without_identifier().include(database=false) }}}} to {READER}"
            " {% endcall %}{% endmacro %}",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh_rapport.mart_b"),
        layers=(("vue",), ("mart", "mart_b")),
    ),
    Project(
        name="the_table_materialization_replaced",
        files={
            "models/base.sql": "select 1 as id",
            "models/mart.sql": "select id from {{ ref('base') }}",
            "macros/table.sql": """
{% materialization table, adapter='postgres' %}
  {%- set cible = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks) }}
  {% call statement('main') %}
    drop table if exists {{ cible }} cascade;
    create table {{ cible }} as select *, 'du projet'::text as par from ({{ sql }}) as q
  {% endcall %}
  {{ run_hooks(post_hooks) }}
  {% do adapter.commit() %}
  {{ return({'relations': [cible]}) }}
{% endmaterialization %}
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit(files={"models/base.sql": "select 2 as id"})),
    ),
    Project(
        name="a_mart_with_a_materialization_of_its_own",
        files={
            "models/mart.sql": "{{ config(materialized='ajoute') }} select {{ var('n', 1) }} as id",
            "models/autre.sql": "select count(*) as n from {{ ref('mart') }}",
            "macros/ajoute.sql": """
{% materialization ajoute, adapter='postgres' %}
  {%- set la = load_relation(this) -%}
  {%- set cible = this.incorporate(type='table') -%}
  {% call statement('main') %}
    {% if la %} insert into {{ cible }} {{ sql }} {% else %} create table {{ cible }} as {{ sql }} {% endif %}
  {% endcall %}
  {% do adapter.commit() %}
  {{ return({'relations': [cible]}) }}
{% endmaterialization %}
""",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.autre"),
    ),
    Project(
        name="names_by_folder",
        files={
            "models/finances/mart.sql": "select 1 as id",
            "models/finances/clients/mart_b.sql": "{{ config(meta={'titre': 'clients du mois'}) }} select id from {{ ref('mart') }}",
            "seeds/finances/tarifs.csv": "a\n1\n",
            "macros/noms.sql": """
{% macro generate_schema_name(custom_schema_name, node) -%}
  {%- if custom_schema_name -%}{{ custom_schema_name }}{%- elif node.fqn | length > 2 -%}{{ target.schema }}_{{ node.fqn[1:-1] | join('_') }}{%- else -%}{{ target.schema }}{%- endif -%}
{%- endmacro %}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
  {{ (node.config.get('meta', {}).get('titre') or custom_alias_name or node.name) | trim }}
{%- endmacro %}
""",
        },
        config=TABLES,
        marts=("dwh_finances.mart", "dwh_finances_clients.clients du mois"),
    ),
    Project(
        name="settings_by_target",
        files={
            "models/mart.sql": "select id, {% if target.name == 'prod' %}'vrai'{% else %}'essai'{% endif %} as donnees from {{ source('src', 'lignes') }}"
            " {% if target.name != 'prod' %} limit 1 {% endif %}",
            "models/de_test.sql": "select casse",
            "models/sources.yml": "sources: [{name: src, schema: \"{{ 'src' if target.name == 'prod' else 'src_essai' }}\", tables: [{name: lignes, identifier: \"{{ var('table', 'lignes') }}\"}]}]",
        },
        prepare=SOURCE,
        config="models:\n  +materialized: \"{{ 'table' if target.name == 'prod' else 'view' }}\"\n  +schema: \"{{ env_var('SUFFIXE', 'rapport') }}\"\n"
        "  essai: {de_test: {+enabled: \"{{ target.name == 'dev' }}\"}}\n",
        marts=("dwh_rapport.mart",),
        env={"SUFFIXE": "rapport"},
    ),
    Project(
        name="variables_of_every_type",
        files={
            "models/mart.sql": "select {{ var('entier') }} as entier, '{{ var('humeur') }}' as humeur, '{{ var('petit') is float }} {{ var('petit') }}' as petit,"
            " '{{ var('texte_bizarre') | replace(\"'\", \"''\") }}' as bizarre, '{{ var('oui') is string }} {{ var('jour_texte') is string }}' as textes, '{{ var('texte') }}' as texte, {{ var('vrai') }} as vrai,"
            " '{{ var('liste') | join('-') }}' as liste, '{{ var('carte').a.b }}' as carte, '{{ var('rien') is none }}' as rien,"
            " {{ var('absent', 3) }} as absent, {{ var('flottant') }} as flottant, '{{ var('jour') }}' as jour,"
            " '{{ target.name }} {{ target.schema }} {{ target.type }} {{ target.threads }} {{ target.profile_name }}' as cible,"
            " '{{ env_var('HUMEUR') }} {{ env_var('ABSENTE', 'défaut') }}' as env, '{{ flags.FULL_REFRESH }} {{ flags.WHICH }}' as f,"
            " '{{ project_name }} {{ model.name }} {{ this }}' as moi",
        },
        config=TABLES + "vars: {entier: 1, texte: du projet, flottant: 0.5, jour: 2026-01-02, essai: {vrai: true}}\n",
        dbt={
            "vars": {
                "texte": "d'ailleurs".replace("'", "’"),
                "liste": [1, "deux"],
                "carte": {"a": {"b": "é"}},
                "rien": None,
                "humeur": "😀 🇫🇷",
                "petit": 1e-7,
                "oui": "yes",
                "jour_texte": "2026-01-01",
                "texte_bizarre": "a: b # c\n'\\ % {x} \u2028 \x7f",
            },
            "target": "autre",
            "threads": 4,
        },
        env={"HUMEUR": "gaie"},
        marts=("dwh.mart",),
        random={"dwh.mart": ("moi", "f")},
    ),
    Project(
        name="selectors_with_a_default",
        files={
            "models/mart.sql": "select 1 as id",
            "models/a_part.sql": "select 2 as id",
            "selectors.yml": "selectors: [{name: courant, default: true, definition: {method: fqn, value: mart}},"
            " {name: reste, definition: {method: fqn, value: a_part}}]",
        },
        config=TABLES,
        layers=(("mart",),),
        marts=("dwh.mart",),
    ),
    Project(
        name="a_model_switched_off",
        files={
            "models/mart.sql": "select 1 as id",
            "models/eteint.sql": "{{ config(enabled=false) }} select casse",
            "models/par_cible.sql": "{{ config(enabled=(target.name == 'ailleurs')) }} select casse",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(files={"models/eteint.sql": "select 1 as id"}),),
    ),
    Project(
        name="full_refresh",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/suite.sql": "{{ config(materialized='incremental', full_refresh=var('complet', none)) }}"
            " select id from {{ source('src', 'lignes') }} {% if is_incremental() %} where false {% endif %}",
            "models/mart.sql": "select * from {{ ref('suite') }}",
        },
        config=TABLES,
        dbt={"vars": {"complet": True}},
        marts=("dwh.mart",),
        edits=(Edit(CHANGED),),
    ),
    Project(
        name="macros_that_ask_the_warehouse",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/large.sql": '{% set zones = run_query("select distinct zone from src.lignes order by 1").columns[0].values() if execute else [] %}'
            " select id {% for z in zones %}, case when zone = '{{ z }}' then montant end as z{{ loop.index }} {% endfor %}"
            " from {{ source('src', 'lignes') }}",
            "models/mart.sql": "select {{ dbt_utils_star(ref('large')) }} from {{ ref('large') }}",
            "models/mart_b.sql": "select {{ adapter.get_columns_in_relation(ref('mart')) | length }} as n,"
            " {{ load_relation(ref('mart')) is not none }} as la, '{{ load_relation(ref('mart')).type }}' as sorte from {{ ref('mart') }}",
            "macros/star.sql": "{% macro dbt_utils_star(r) %}{% for c in adapter.get_columns_in_relation(r) %}"
            '"{{ c.name }}"{% if not loop.last %},{% endif %}{% endfor %}{% if not execute %}*{% endif %}{% endmacro %}',
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.mart_b"),
    ),
    Project(
        name="flags_of_the_project",
        files={
            "models/mart.sql": "select 1 as id",
            "models/mart.yml": "models: [{name: mart, columns: [{name: id, data_tests: [unique]}]}]",
        },
        config=TABLES
        + "flags: {warn_error: true, send_anonymous_usage_stats: false, store_failures: true}\nrequire-dbt-version: ['>=1.5.0', '<3.0.0']\n",
        marts=("dwh.mart",),
        tests="Fail",
    ),
]
