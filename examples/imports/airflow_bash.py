"""A DAG that runs dbt for examples/velos by BashOperator, after a load that is not dbt."""

from datetime import timedelta

import pendulum
from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator
from loading import load_rides

PROJECT = "/opt/airflow/dbt/velos"
DBT = f"cd {PROJECT} && dbt"

with DAG(
    "velos_nightly",
    schedule="30 3 * * 1-5",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Paris"),
    catchup=False,
    dagrun_timeout=timedelta(hours=1),
    default_args={
        "email": ["data@example.org"],
        "email_on_failure": True,
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(minutes=20),
    },
) as dag:
    load = PythonOperator(task_id="load_rides", python_callable=load_rides)
    test = BashOperator(task_id="dbt_test", bash_command=f"{DBT} test --target prod", retries=0)
    snapshot = BashOperator(task_id="dbt_snapshot", bash_command=f"{DBT} snapshot --target prod")
    seed = BashOperator(task_id="dbt_seed", bash_command=f"{DBT} seed --target prod")
    models = BashOperator(
        task_id="dbt_run",
        bash_command=f"""{DBT} run --select path:models --target prod --vars '{{"as_of": "{{{{ ds }}}}", "jours": 7}}'""",
        env={"DBT_PASSWORD": "Vel0drome-1936"},
    )

    load >> [seed, snapshot] >> models >> test
