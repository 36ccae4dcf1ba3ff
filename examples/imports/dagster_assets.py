"""The models of examples/velos as assets of Dagster."""

from pathlib import Path

from dagster import AssetExecutionContext
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

project = DbtProject(project_dir=Path(__file__).parent / "velos")


@dbt_assets(manifest=project.manifest_path, exclude="longs_trajets")
def velos_assets(context: AssetExecutionContext, dbt: DbtCliResource):
    yield from dbt.cli(["build", "--target", "prod"], context=context).stream()
