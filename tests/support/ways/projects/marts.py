"""Every kind of mart."""

from support.ways.differences import SET_BY_HAND
from support.ways.project import READER, Edit, Project
from support.ways.projects.kinds import CHANGED, SOURCE, SOURCES, TABLES


def mart_as(name: str, config: str, more: str = "", **further: object) -> Project:
    """Return a mart of some kind with a table mart beside it."""
    return Project(
        name=name,
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart_a.sql": "select id, zone from {{ source('src', 'lignes') }}",
            "models/mart_b.sql": f"{{{{ config({config}) }}}} select id, montant from {{{{ source('src', 'lignes') }}}} {more}",
        },
        config=TABLES,
        marts=("dwh.mart_a", "dwh.mart_b"),
        edits=(Edit(CHANGED), Edit()),
        **further,  # type: ignore[arg-type]
    )


PROJECTS = [
    mart_as("mart_that_is_a_view", "materialized='view'"),
    mart_as("mart_that_is_a_materialized_view", "materialized='materialized_view'"),
    mart_as("mart_that_is_incremental", "materialized='incremental', unique_key='id'"),
    Project(
        name="mart_that_is_a_snapshot",
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "snapshots/suivi.yml": "snapshots: [{name: suivi, relation: \"source('src', 'lignes')\", config: {unique_key: id, strategy: timestamp,"
            " updated_at: mise_a_jour}}]",
        },
        marts=("dwh.suivi",),
        edits=(Edit(CHANGED),),
        random={"dwh.suivi": ("dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_scd_id")},
    ),
    Project(
        name="mart_that_is_a_seed",
        files={"seeds/tarifs.csv": "a,b\n1,2\n"},
        marts=("dwh.tarifs",),
        edits=(Edit(files={"seeds/tarifs.csv": "a,b\n1,3\n2,4\n"}),),
    ),
    Project(
        name="marts_in_public",
        prepare="create table public.a_nous (id integer); create view public.vue as select 1 as id",
        files={"models/mart.sql": "select 1 as id", "models/base.sql": "{{ config(materialized='view') }} select 1 as id"},
        config=TABLES,
        dbt={"schema": "public"},
        marts=("public.mart",),
        edits=(Edit(), Edit(files={"models/mart.sql": "select 1 as id, 2 as b"})),
    ),
    Project(
        name="mart_that_is_empty",
        prepare=SOURCE,
        files={"models/sources.yml": SOURCES, "models/mart.sql": "select id from {{ source('src', 'lignes') }} where id < 0"},
        config=TABLES,
        marts=("dwh.mart",),
        spec={"validation": {"marts": [{"relation": "dwh.mart", "minRows": 0}]}},
        edits=(Edit("insert into src.lignes values (-1)"), Edit("delete from src.lignes where id < 0")),
    ),
    Project(
        name="mart_without_columns",
        files={"models/mart.sql": "select from generate_series(1, 3)"},
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit(files={"models/mart.sql": "select from generate_series(1, 4)"})),
    ),
    Project(
        name="a_view_on_a_mart_by_hand",
        difference=SET_BY_HAND,
        files={"models/mart.sql": "select n as id, n % 2 as pair from generate_series(1, 5) n"},
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(
                f"grant usage on schema dwh to {READER}; grant select on dwh.mart to {READER}; alter table dwh.mart set (fillfactor = 90)"
            ),
            Edit(files={"models/mart.sql": "select n as id, n % 2 as pair from generate_series(1, 6) n"}),
        ),
        differs=True,
    ),
    Project(
        name="default_privileges",
        prepare=f"create schema dwh; alter default privileges in schema dwh grant select on tables to {READER};"
        f"alter default privileges grant insert on tables to {READER}",
        files={"models/mart.sql": "select 1 as id", "models/vue.sql": "{{ config(materialized='view') }} select 1 as id"},
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(), Edit(files={"models/mart.sql": "select 1 as id, 2 as b"})),
    ),
    Project(
        name="a_mart_that_was_a_view",
        files={"models/mart.sql": "{{ config(materialized='view') }} select 1 as id"},
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(files={"models/mart.sql": "select 1 as id"}),
            Edit(files={"models/mart.sql": "{{ config(materialized='view') }} select 2 as id"}),
            Edit(files={"models/mart.sql": "{{ config(materialized='materialized_view') }} select 2 as id"}),
            Edit(files={"models/mart.sql": "select 1 as id"}),
        ),
    ),
    Project(
        name="a_mart_that_changes_its_shape",
        quick=True,
        files={"models/mart.sql": "select 1 as id, 'a'::text as nom"},
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(files={"models/mart.sql": "select 'a'::text as nom, 1 as id"}),
            Edit(files={"models/mart.sql": "select 'a'::varchar(3) as nom, 1::bigint as id, null::jsonb as j"}),
            Edit(files={"models/mart.sql": "select 1::bigint as id"}),
        ),
    ),
    # without xml: the PostgreSQL of the wheel is built without libxml
    Project(
        name="types_of_postgresql",
        prepare="create schema types; create type types.humeur as enum ('gaie', 'triste'); create domain types.positif as integer check (value > 0);"
        "create type types.point2 as (x integer, y numeric)",
        files={
            "models/mart.sql": """
select n as id, 'gaie'::types.humeur as humeur, n::types.positif as positif, row(n, 1.50)::types.point2 as p, array[n, null] as liste,
  array[array['a'], array['b,"c']] as table_de, '{"b": 1, "a": [1.50, null]}'::jsonb as jb, '{"b": 1,  "a": 2}'::json as j,
  12.34::money as argent, '10.0.0.0/8'::cidr as c, '(1,2),(3,4)'::box as h, int4range(1, n + 5) as r,
  '{[1,3),[5,7)}'::int4multirange as mr, '\\x00ff'::bytea as b, b'101' as bits, 'NaN'::numeric as nan, 'infinity'::timestamptz as inf,
  '-infinity'::date as moins, 'Infinity'::float8 as finf, '-0'::float8 as mzero, 1.10::numeric as echelle, interval '1 mon -1 day' as i,
  '10.0.0.1/8'::inet as ip, '08:00:2b:01:02:03'::macaddr as mac, point(1, 2) as pt, 'a b'::tsvector as ts,
  'a'::char(5) as car, 'a' collate "C" as coll, '2026-01-01 12:00+02'::timestamptz as t, '12:00+02'::timetz as tz,
  gen_random_uuid() is not null as u, 'x'::name as nom, n::oid as o, repeat('x', 10000) as long, 'a'::"char" as ch, null::text as rien
from generate_series(1, 3) n""",
            "models/mart_b.sql": "select * from {{ ref('mart') }}",
        },
        config=TABLES,
        marts=("dwh.mart", "dwh.mart_b"),
        edits=(Edit(), Edit()),
    ),
]
