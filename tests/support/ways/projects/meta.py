"""Metadata of models: contracts, descriptions, grants, exposures, metrics."""

from support.ways.project import READER, Edit, Project
from support.ways.projects.kinds import CHANGED, SOURCE, SOURCES, TABLES


def contract(
    name: str, columns: str, query: str, constraints: str = "", edits: tuple[Edit, ...] = (Edit(),), *, quick: bool = False
) -> Project:
    """Return a mart with an enforced contract."""
    return Project(
        name=name,
        quick=quick,
        files={
            "models/mart.sql": query,
            "models/mart.yml": f"models:\n  - name: mart\n    config: {{contract: {{enforced: true}}}}\n{constraints}    columns:\n{columns}",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=edits,
    )


_ID = "      - {name: id, data_type: integer, constraints: [{type: not_null}, {type: primary_key}]}\n"
PROJECTS = [
    contract(
        "contract_with_constraints",
        _ID + "      - {name: zone, data_type: varchar(20), constraints: [{type: unique}, {type: check, expression: \"zone <> ''\"}]}\n"
        "      - {name: prix, data_type: 'numeric(8,2)'}\n",
        "select id, 'zone ' || id as zone, id * 1.5 as prix from generate_series(1, {{ 10 if is_incremental() else 12 }}) as s(id)",
    ),
    contract(
        "contract_with_named_constraints",
        "      - {name: id, data_type: integer}\n      - {name: zone, data_type: text}\n",
        "select id, 'zone ' || id as zone from generate_series(1, 10) as s(id)",
        "    constraints:\n      - {type: check, name: zone_connue, expression: \"zone like 'zone %'\"}\n"
        "      - {type: unique, columns: [id, zone]}\n",
        edits=(Edit(), Edit(files={"models/mart.sql": "select id, 'zone ' || id as zone from generate_series(1, 12) as s(id)"})),
    ),
    Project(
        name="contract_with_a_foreign_key_on_a_source",
        prepare="create schema src; create table src.zones (id integer primary key); insert into src.zones values (1), (2)",
        files={
            "models/sources.yml": "sources: [{name: src, schema: src, tables: [{name: zones}]}]",
            "models/mart.sql": "select 1 as zone union all select 2",
            "models/mart.yml": """
models:
  - name: mart
    config: {contract: {enforced: true}}
    columns: [{name: zone, data_type: integer, constraints: [{type: foreign_key, to: "source('src', 'zones')", to_columns: [id]}]}]
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(Edit(files={"models/mart.sql": "select 2 as zone"}),),
    ),
    Project(
        name="contract_with_every_constraint",
        files={
            "models/zones.sql": "select n as id, 'zone ' || n as nom from generate_series(1, 3) n",
            "models/mart.sql": "select n as id, 'code ' || n as code, n % 3 + 1 as zone, int4range(n, n + 1) as periode, -n as solde from generate_series(1, 5) n",
            "models/contrats.yml": """
models:
  - name: zones
    config: {contract: {enforced: true}}
    constraints: [{type: primary_key, columns: [id]}]
    columns: [{name: id, data_type: integer}, {name: nom, data_type: text, constraints: [{type: unique}]}]
  - name: mart
    config: {contract: {enforced: true}}
    constraints:
      - {type: primary_key, columns: [id]}
      - {type: foreign_key, columns: [zone], to: ref('zones'), to_columns: [id]}
      - {type: unique, columns: [code, zone]}
      - {type: check, expression: "zone > 0", name: zone_positive}
      - {type: custom, expression: "exclude using gist (periode with &&)"}
    columns:
      - {name: id, data_type: integer, constraints: [{type: not_null}]}
      - {name: code, data_type: text, constraints: [{type: custom, expression: 'collate "C"'}, {type: check, expression: "code <> ''"}]}
      - {name: zone, data_type: integer, constraints: [{type: not_null}]}
      - {name: periode, data_type: int4range}
      - {name: solde, data_type: integer, constraints: [{type: custom, expression: default 0}]}
""",
        },
        config=TABLES,
        marts=("dwh.mart",),
        edits=(
            Edit(
                files={
                    "models/mart.sql": "select n as id, 'code ' || n as code, n % 3 + 1 as zone, int4range(n, n + 1) as periode, n as solde from generate_series(2, 6) n"
                }
            ),
            Edit(files={"models/zones.sql": "select n as id, 'zone ' || n as nom from generate_series(1, 4) n"}),
        ),
    ),
    contract(
        "contract_that_changes",
        "      - {name: id, data_type: integer}\n      - {name: nom, data_type: text}\n",
        "select 1 as id, 'a' as nom",
        edits=(
            Edit(
                files={
                    "models/mart.sql": "select 1::bigint as id, 'a'::varchar(5) as nom, now()::date - now()::date as rien",
                    "models/mart.yml": "models: [{name: mart, config: {contract: {enforced: true}}, columns: [{name: id, data_type: bigint,"
                    " constraints: [{type: primary_key}]}, {name: nom, data_type: varchar(5)}, {name: rien, data_type: integer}]}]",
                }
            ),
            Edit(),
        ),
    ),
    Project(
        name="contract_of_an_incremental",
        files={
            "models/suite.sql": "{{ config(materialized='incremental', unique_key='id') }} select id from generate_series(1, 3) s(id)",
            "models/suite.yml": "models: [{name: suite, config: {contract: {enforced: true}, on_schema_change: append_new_columns}, columns:"
            " [{name: id, data_type: integer, constraints: [{type: not_null}, {type: unique}]}]}]",
            "models/mart.sql": "select * from {{ ref('suite') }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
    Project(
        name="persist_docs",
        files={
            "models/mart.sql": 'select 1 as id, 2 as "Grand Nom"',
            "models/vue.sql": "{{ config(materialized='view') }} select 1 as id",
            "models/docs.md": "{% docs longue %}\nUne d'or, « à lire » : 100 % \\ {{ '{' }}x{{ '}' }}\n{% enddocs %}",
            "models/mart.yml": """
models:
  - name: mart
    description: '{{ doc("longue") }}'
    columns: [{name: id, description: "l'identité"}, {name: Grand Nom, description: grand, quote: true}]
  - {name: vue, description: une vue, columns: [{name: id, description: de la vue}]}
""",
        },
        config="models: {+materialized: table, +persist_docs: {relation: true, columns: true}}\n",
        marts=("dwh.mart",),
        edits=(
            Edit(files={"models/mart.yml": "models: [{name: mart, description: autre}]"}),
            Edit(files={"models/mart.yml": "models: [{name: mart}]"}),
        ),
    ),
    Project(
        name="grants_config",
        quick=True,
        prepare=SOURCE,
        files={
            "models/sources.yml": SOURCES,
            "models/mart_a.sql": f"{{{{ config(grants={{'select': ['{READER}', 'autre_lecteur']}}) }}}} select * from {{{{ source('src', 'lignes') }}}}",
            "models/mart_b.sql": "select id from {{ source('src', 'lignes') }}",
            "models/mart_c.sql": f"{{{{ config(grants={{'select': '{READER}', '+insert': ['{READER}']}}) }}}} select 1 as id",
        },
        config=TABLES,
        marts=("dwh.mart_a", "dwh.mart_b", "dwh.mart_c"),
        edits=(
            Edit(CHANGED),
            Edit(
                files={
                    "models/mart_a.sql": "{{ config(grants={'select': ['autre_lecteur']}) }} select * from {{ source('src', 'lignes') }}",
                    "models/mart_c.sql": f"{{{{ config(grants={{'select': ['{READER}']}}) }}}} select 1 as id, 2 as de_plus",
                }
            ),
            Edit(),
        ),
    ),
    Project(
        name="exposures_metrics_and_queries",
        files={
            "models/mart.sql": "select 1 as id, date '2026-01-01' as jour, 5 as montant",
            "models/metricflow_time_spine.sql": "select date '2026-01-01' + n as date_day from generate_series(0, 10) n",
            "models/time_spine.yml": "models: [{name: metricflow_time_spine, time_spine: {standard_granularity_column: date_day},"
            " columns: [{name: date_day, granularity: day}]}]",
            "models/semantic.yml": """
semantic_models:
  - name: mart
    model: ref('mart')
    defaults: {agg_time_dimension: jour}
    entities: [{name: id, type: primary}]
    dimensions: [{name: jour, type: time, type_params: {time_granularity: day}}]
    measures: [{name: montant, agg: sum}]
metrics:
  - {name: montant, label: Montant, type: simple, type_params: {measure: montant}}
saved_queries:
  - name: montant_par_jour
    query_params: {metrics: [montant], group_by: ["TimeDimension('id__jour', 'day')"]}
    exports: [{name: montant_par_jour, config: {export_as: table, schema: exporte}}]
exposures:
  - {name: tableau, type: dashboard, owner: {name: x}, depends_on: [ref('mart'), metric('montant')]}
""",
            "analyses/regard.sql": "select * from {{ ref('mart') }} where {{ 'x' }}",
        },
        config=TABLES,
        marts=("dwh.mart",),
    ),
    Project(
        name="constraints_on_another_mart",
        files={
            "models/mart_zones.sql": "select 1 as id",
            "models/mart_lignes.sql": "-- depends_on: {{ ref('mart_zones') }}\nselect 1 as zone",
            "models/marts.yml": """
models:
  - name: mart_zones
    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer, constraints: [{type: primary_key}]}]
  - name: mart_lignes
    config: {contract: {enforced: true}}
    columns: [{name: zone, data_type: integer, constraints: [{type: foreign_key, to: ref('mart_zones'), to_columns: [id]}]}]
""",
        },
        config=TABLES,
        marts=("dwh.mart_zones", "dwh.mart_lignes"),
        edits=(Edit(), Edit(files={"models/mart_zones.sql": "select 1 as id union all select 2"})),
    ),
]
