"""Each kind of thing that dbt builds."""

from support.ways.project import Edit, Project

PROJECTS = [
    Project(
        name="seed_with_types",
        quick=True,
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
]
