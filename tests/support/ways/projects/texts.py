"""Models, tests and hooks that have a mart's name as text: as data it is the live name, as PostgreSQL's name of a table the new one's."""

from support.ways.differences import NAME_AS_TEXT
from support.ways.project import READER, Edit, Project

_TABLES = "models: {+materialized: table}\n"
_MARTS = ("dwh.mart", "dwh.lecteur", "autre.deux")
_READER = """
select '{{ ref('mart').include(database=false) }}' as relation, cast('{{ ref('mart').include(database=false) }}' as text) as par_cast, '{{ ref('mart').schema }}' as schema,
  concat('de ', '{{ ref('mart').schema }}', '_', '{{ ref('mart').identifier }}') as ensemble, $${{ ref('deux').include(database=false) }}$$ as dollars,
  E'{{ ref('deux').include(database=false) }} \\'' as echappe, '{{ ref('mart').schema }}_suffixe' as suffixe, '{{ this.include(database=false) }}' as soi, '{{ model.schema }}' as modele,
  count(*) as lignes -- of '{{ ref('mart').include(database=false) }}'
from {{ ref('mart') }}
"""
_IN_THE_CATALOG = """
select count(*) as colonnes from information_schema.columns
where table_schema = '{{ ref('mart').schema }}' and table_name in ('rien', '{{ ref('mart').identifier }}')
"""
_HOOKS = """
{{ config(post_hook=[
    "insert into suivi.journal values ('{{ this.include(database=false) }}', '{{ ref('mart').include(database=false) }}')",
    "update suivi.dernier set relation = '{{ this.include(database=false) }}' where relation is distinct from '{{ this.include(database=false) }}'",
    "comment on table {{ this }} is 'de {{ this.include(database=false) }}'",
    "alter table {{ this }} add column source text default '{{ this.include(database=false) }}'",
    "do $$ begin insert into suivi.journal values ('bloc', '{{ this.schema }}'); grant usage on schema {{ this.schema }} to LECTEUR; end $$",
    "with nom as (select '{{ this.schema }}' as n) insert into suivi.journal select n, n from nom",
]) }}
""".replace("LECTEUR", READER)
_PREPARE = "create schema suivi; create table suivi.journal (un text, deux text); create table suivi.dernier as select 'rien' as relation"

# Each way has a database of its own, whose name must not be in what is compared.
PROJECTS = [
    Project(
        name="names_of_marts_as_text",
        quick=True,
        files={
            "models/mart.sql": "select 1 as id",
            "models/deux.sql": "{{ config(schema='autre') }} select 1 as id",
            "models/lecteur.sql": _HOOKS + _READER,
            "models/catalogue.sql": "{{ config(materialized='table') }}" + _IN_THE_CATALOG,
            "macros/noms.sql": "{% macro generate_schema_name(custom_schema_name, node) %}{{ custom_schema_name or target.schema }}{% endmacro %}",
            "models/tests.yml": "models: [{name: lecteur, columns: [{name: relation, data_tests: [not_null]}]}]",
            "tests/noms.sql": "select * from {{ ref('lecteur') }} where relation <> '{{ ref('mart').include(database=false) }}' or soi <> '{{ ref('lecteur').include(database=false) }}'",
        },
        config=_TABLES,
        prepare=_PREPARE,
        marts=(*_MARTS, "dwh.catalogue"),
        tests="Fail",
        edits=(Edit(), Edit(files={"models/mart.sql": "select 1 as id, 2 as neuf"})),
    ),
    Project(
        name="names_of_marts_as_text_quoted",
        files={
            "models/mart.sql": "{{ config(schema='à part') }} select 1 as id",
            "models/lecteur.sql": "select '{{ ref('mart').include(database=false) }}' as relation, '{{ ref('mart').schema }}' as schema from {{ ref('mart') }}",
        },
        config=_TABLES,
        marts=("dwh_à part.mart", "dwh.lecteur"),
        edits=(Edit(),),
    ),
    Project(
        name="names_of_marts_in_upper_case",
        files={
            "models/mart.sql": "select 1 as id",
            "models/lecteur.sql": "select '{{ ref('mart').include(database=false) }}' as relation, '{{ ref('mart').schema }}' as schema from {{ ref('mart') }}",
        },
        config=_TABLES + "quoting: {schema: false, identifier: false}\n",
        dbt={"schema": "DWH"},
        marts=("dwh.mart", "dwh.lecteur"),
        edits=(Edit(),),
    ),
    Project(
        name="a_name_for_a_function_of_the_project",
        difference=NAME_AS_TEXT,
        files={
            "models/mart.sql": "select 1 as id",
            "models/lecteur.sql": "select suivi.compte('{{ ref('mart') }}') as lignes",
        },
        config=_TABLES,
        prepare="create schema suivi; create function suivi.compte(relation text) returns bigint language plpgsql as"
        " $$ declare n bigint; begin execute 'select count(*) from ' || relation into n; return n; end $$",
        marts=("dwh.mart", "dwh.lecteur"),
        refused="""lecteur passes the literal '{{ ref("mart") }}' to compte()""",
    ),
    Project(
        name="a_name_made_of_a_schema",
        difference=NAME_AS_TEXT,
        files={
            "models/mart.sql": "select 1 as id",
            "models/lecteur.sql": "select count(*) as {{ ref('mart').schema }}_lignes from {{ ref('mart') }}",
        },
        config=_TABLES,
        marts=("dwh.mart", "dwh.lecteur"),
        refused="""lecteur forms the name {{ ref("mart") }}_lignes""",
    ),
]
