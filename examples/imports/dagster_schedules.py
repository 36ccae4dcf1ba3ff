"""Schedules of Dagster for the models of examples/velos."""

from dagster import DefaultScheduleStatus, Definitions, ScheduleDefinition, define_asset_job
from dagster_dbt import build_dbt_asset_selection, build_schedule_from_dbt_selection

from .dagster_assets import velos_assets

hourly = build_schedule_from_dbt_selection(
    [velos_assets],
    job_name="velos_hourly",
    cron_schedule="@hourly",
    dbt_select="path:models/preparation",
    execution_timezone="Europe/Paris",
)

report = define_asset_job(
    "velos_report",
    selection=build_dbt_asset_selection([velos_assets], dbt_select="+trajets_par_jour"),
    tags={"dagster/max_retries": 2, "dagster/max_runtime": 1800},
)
nightly = ScheduleDefinition(
    name="velos_nightly",
    job=report,
    cron_schedule="15 4 * * *",
    execution_timezone="Europe/Paris",
    default_status=DefaultScheduleStatus.RUNNING,
)

defs = Definitions(assets=[velos_assets], jobs=[report], schedules=[hourly, nightly])
