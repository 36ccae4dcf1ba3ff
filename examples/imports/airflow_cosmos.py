"""A DAG that runs dbt for examples/velos by Cosmos, every six hours."""

from datetime import datetime, timedelta

from airflow.decorators import dag
from airflow.operators.empty import EmptyOperator
from cosmos import DbtTaskGroup, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.profiles import PostgresUserPasswordProfileMapping

profile_config = ProfileConfig(
    profile_name="velos",
    target_name="prod",
    profile_mapping=PostgresUserPasswordProfileMapping(
        conn_id="warehouse",
        profile_args={"schema": "velos", "threads": 4, "password": "Vel0drome-1936"},
    ),
)


@dag(schedule=timedelta(hours=6), start_date=datetime(2026, 1, 1, 1, 15), catchup=False, default_args={"retries": 1})
def velos():
    begin = EmptyOperator(task_id="begin")
    reference = DbtTaskGroup(
        group_id="reference",
        project_config=ProjectConfig("/usr/local/airflow/dags/dbt/velos"),
        profile_config=profile_config,
        render_config=RenderConfig(select=["tarifs", "stations_suivies"]),
    )
    models = DbtTaskGroup(
        group_id="models",
        project_config=ProjectConfig("/usr/local/airflow/dags/dbt/velos", dbt_vars={"jours": 7}),
        profile_config=profile_config,
        render_config=RenderConfig(select=["path:models"], exclude=["longs_trajets"]),
        operator_args={"install_deps": True},
    )
    begin >> reference >> models


velos()
