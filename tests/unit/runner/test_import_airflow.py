"""Airflow DAGs as refreshes: what is written in the file is read, and what is computed is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.imports import comments, example, import_files, imported, imported_example, spec_of

HEAD = """
from datetime import datetime, timedelta
import pendulum
from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.operators.python import PythonOperator
from airflow.timetables.trigger import CronTriggerTimetable
from cosmos import DbtDag, DbtTaskGroup, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import TestBehavior
START = pendulum.datetime(2026, 1, 5, 2, 30, tz="Europe/Paris")
"""


@pytest.fixture
def dag(tmp_path: Path):
    """Write a DAG file with the usual imports, and return it."""

    def write(text: str) -> Path:
        (tmp_path / "dag.py").write_text(HEAD + text)
        return tmp_path / "dag.py"

    return write


def scheduled(schedule: str, task: str = "BashOperator(task_id='t', bash_command='dbt run')") -> str:
    return f"with DAG('d', {schedule}) as d:\n    x = {task}\n"


def with_tasks(text: str) -> str:
    body = "\n".join(f"    {line}" for line in text.strip().splitlines())
    return f"with DAG('d', schedule='@daily', start_date=START) as d:\n{body}\n"


def failed(file: Path, *options: str) -> str:
    """Return the errors of an import that must fail, and must print nothing."""
    code, output, errors = import_files("airflow", file, options=list(options))
    assert (code, output) == (1, "")
    return errors


def test_the_example_with_bash_operators_becomes_its_refresh():
    """The order of the tasks is that of `>>`, not that of the file."""
    text = imported_example("BashOperator")
    spec = spec_of(text)
    limits = {"timeout": "20m", "retries": 2}
    assert spec["layers"] == [
        {"name": "dbt-snapshot", "select": ["resource_type:snapshot"], **limits},
        {"name": "dbt-seed", "select": ["resource_type:seed"], **limits},
        {"name": "dbt-run", "select": ["path:models,resource_type:model"], **limits},
    ]
    assert spec["tests"] == {"select": ["fqn:*"], "failurePolicy": "Fail", "timeout": "20m", "retries": 0}
    assert (spec["schedule"], spec["timeZone"], spec["timeout"]) == ("30 3 * * 1-5", "Europe/Paris", "1h")
    assert spec["notifications"] == [{"email": {"to": ["data@example.org"], "smtpSecretRef": {"name": "smtp"}}, "when": ["Failed"]}]
    assert spec["dbt"] == {"target": "prod", "vars": {"jours": 7}}
    assert "Vel0drome-1936" not in text
    said = comments(text)
    assert any("PythonOperator is not dbt" in each for each in said)
    assert any("as_of defaults to the run's date" in each for each in said)


def test_the_example_with_cosmos_becomes_its_refresh():
    """Two groups, each with its selection; the profile gives the schema, and its password stays where it is."""
    text = imported_example("Cosmos")
    spec = spec_of(text)
    assert [(layer["name"], layer["select"], layer.get("exclude")) for layer in spec["layers"]] == [
        ("reference", ["tarifs", "stations_suivies"], None),
        ("models", ["path:models"], ["longs_trajets"]),
    ]
    assert spec["schedule"] == "15 1,7,13,19 * * *"
    assert spec["dbt"] == {"target": "prod", "schema": "velos", "vars": {"jours": 7}}
    assert "Vel0drome-1936" in example("Cosmos")[0].read_text(), "the control"
    assert "Vel0drome-1936" not in text
    assert any("the Airflow connection warehouse" in each for each in comments(text))


def test_nothing_of_a_file_is_run(tmp_path, dag):
    """A DAG file can do anything when it is imported."""
    mark = tmp_path / "ran"
    text = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nraise SystemExit(3)\n"
    assert spec_of(imported("airflow", dag(text + scheduled("schedule='@daily', start_date=START"))))["layers"]
    assert not mark.exists()


@pytest.mark.parametrize(
    ("written", "line", "zone"),
    [
        ("schedule='@daily', start_date=START", "0 0 * * *", "Europe/Paris"),
        ("schedule_interval='15 6 * * 7', start_date=START", "15 6 * * 0", "Europe/Paris"),
        ("schedule=timedelta(days=1), start_date=START", "30 2 * * *", "Europe/Paris"),
        ("schedule=timedelta(hours=8), start_date=datetime(2026, 1, 1, 6)", "0 6,14,22 * * *", "Etc/UTC"),
        ("schedule=timedelta(minutes=30), start_date=days_ago(1)", "H/30 * * * *", "Etc/UTC"),
        ("schedule=CronTriggerTimetable('0 7 * * *', timezone='Asia/Tokyo'), start_date=START", "0 7 * * *", "Asia/Tokyo"),
        ("timetable=CronTriggerTimetable('0 7 * * *', timezone=pendulum.timezone('Asia/Tokyo'))", "0 7 * * *", "Asia/Tokyo"),
        ("schedule='@daily', default_args={'start_date': START}", "0 0 * * *", "Europe/Paris"),
        ("schedule='@daily', start_date=datetime(2026, 1, 1, tzinfo=pendulum.timezone('Europe/Rome'))", "0 0 * * *", "Europe/Rome"),
        ("schedule='0 6 * * * 0', start_date=START", "0 6 * * *", "Europe/Paris"),
    ],
)
def test_a_schedule_that_is_written_is_read(dag, written, line, zone):
    """By its names in Airflow 2 and 3."""
    spec = spec_of(imported("airflow", dag(scheduled(written))))
    assert (spec["schedule"], spec["timeZone"]) == (line, zone)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("start_date=START", "line 11: the DAG names no schedule"),
        ("schedule=None", "the DAG has no schedule"),
        ("schedule='@once'", "@once is not a time of day"),
        ("schedule='@continuous'", "@continuous is not a time of day"),
        ("schedule=[Dataset('x')]", "no cron line and no timedelta"),
        ("schedule=['0 6 * * *']", "no cron line and no timedelta"),
        ("schedule=Variable.get('cron')", "no cron line and no timedelta that is written here"),
        ("schedule=timedelta(minutes=45), start_date=START", "no cron line says every 0:45:00"),
        ("schedule=timedelta(hours=6)", "no cron line says every 6:00:00 from an unknown time on"),
        ("schedule='0 6 * * MON#1'", "no schedule of a refresh: day of week: 'MON#1' is invalid"),
        ("schedule='0 6 * * * 30'", "starts at second 30"),
        ("schedule=f'0 {HOUR} * * *'", "no schedule of a refresh"),
    ],
)
def test_a_schedule_that_no_line_says_is_an_error(dag, written, says):
    """And --schedule is the way out."""
    file = dag(scheduled(written))
    errors = failed(file)
    assert says in errors
    assert "--schedule" in errors
    assert spec_of(imported("airflow", file, options=["--schedule", "0 5 * * *"]))["schedule"] == "0 5 * * *"


@pytest.mark.parametrize(
    "order",
    [
        "a >> b >> c",
        "c << b << a",
        "a >> b\nb >> c",
        "chain(a, b, c)",
        "c.set_upstream(b)\na.set_downstream(b)",
        "a >> p >> b\np >> [c]\nb >> c",
        "[a] >> p\np >> b\nb >> c",
    ],
)
def test_all_forms_of_an_order_are_read(dag, order):
    """The tasks are written in another order, and one of them is not dbt, but between two that are."""
    tasks = """
c = BashOperator(task_id="c", bash_command="dbt run -s c")
b = BashOperator(task_id="b", bash_command="dbt run -s b")
a = BashOperator(task_id="a", bash_command="dbt run -s a")
p = PythonOperator(task_id="p")
"""
    spec = spec_of(imported("airflow", dag(with_tasks(tasks + order))))
    assert [layer["name"] for layer in spec["layers"]] == ["a", "b", "c"]


def test_the_place_of_the_project_is_named_if_it_is_written(dag):
    """A person has to bring the project from there."""
    tasks = "BashOperator(task_id='a', bash_command=f'cd {DIR} && dbt run')\nBashOperator(task_id='b', bash_command='cd /dbt && dbt run')"
    text = imported("airflow", dag(with_tasks(tasks)))
    assert any(each.startswith("say where the dbt project is (until now /dbt): ") for each in comments(text))


def test_without_an_order_the_file_decides():
    """The control of the test above is the example, whose tasks are written in another order than they run."""
    text = example("BashOperator")[0].read_text()
    assert text.index("dbt_test") < text.index("dbt_seed") < text.index("dbt_run")


def test_an_order_that_is_not_understood_is_said(dag):
    """Order decides whether a layer finds what it reads."""
    tasks = 'a = BashOperator(task_id="a", bash_command="dbt run -s a")\na >> make() >> other[0]'
    assert any(
        "line 13: this part of the tasks' order is not understood" in each for each in comments(imported("airflow", dag(with_tasks(tasks))))
    )


def test_names_stand_for_what_is_written_once(dag):
    """Constants, texts that are put together, dictionaries that are taken apart."""
    text = """
TAGS = "tag:a"
MORE = TAGS + " tag:b"
ARGS = {"retries": 3}
BOTH = {**ARGS, "execution_timeout": timedelta(minutes=5)}
with DAG("d", schedule="@daily", start_date=START, default_args=BOTH) as d:
    BashOperator(task_id="t", bash_command=f"cd {DIR} && dbt run -s {MORE}")
"""
    spec = spec_of(imported("airflow", dag(text)))
    assert spec["layers"] == [
        {"name": "t", "select": ["tag:a,resource_type:model", "tag:b,resource_type:model"], "timeout": "5m", "retries": 3}
    ]


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ("for m in ['a', 'b']:\n    BashOperator(task_id=m, bash_command=f'dbt run -s {m}')", "gets --select when the source runs"),
        ("BashOperator(task_id='t', bash_command=command())", "bash_command is computed"),
        ("BashOperator(task_id='t', bash_command='dbt run -s {{ params.models }}')", "gets --select when the source runs"),
        ("BashOperator(task_id='t', bash_command='dbt build -s ' + MODELS)", "gets --select when the source runs"),
        ("M = 'a'\nM = 'b'\nBashOperator(task_id='t', bash_command=f'dbt run -s {M}')", "gets --select when the source runs"),
        ("KubernetesPodOperator(task_id='t', arguments=ARGS)", "arguments is computed"),
        ("PythonOperator(task_id='t', python_callable=print)", "PythonOperator is not dbt"),
        ("DbtCloudRunJobOperator(task_id='t', job_id=3)", "import that job"),
        ("ExternalTaskSensor(task_id='t')", "ExternalTaskSensor waits for something else"),
        ("@task\ndef load():\n    pass\nload()", "the task load is Python, not dbt"),
        ("DbtTaskGroup(render_config=RenderConfig(select=names()))", "the selection or the arguments of Cosmos are computed"),
        ("DbtTaskGroup(render_config=RenderConfig(selector='nightly'))", "uses --selector"),
        ("DbtTaskGroup(**SHARED)", "some arguments of DbtTaskGroup are computed"),
        ("DbtRunLocalOperator(task_id='t', **SHARED)", "some arguments of DbtRunLocalOperator are computed"),
        ("DbtTaskGroup(render_config=RENDER)", "the selection or the arguments of Cosmos are computed"),
        ("DbtTaskGroup(render_config=RenderConfig(test_behavior=how()))", "the selection or the arguments of Cosmos are computed"),
        ("DbtTaskGroup(operator_args=OPERATOR)", "the selection or the arguments of Cosmos are computed"),
        ("DbtTaskGroup(operator_args={'full_refresh': '{{ params.full }}'})", "the selection or the arguments of Cosmos are computed"),
        ("DbtRunOperationLocalOperator(task_id='t', macro_name='grant')", "runs grant"),
    ],
)
def test_what_is_computed_makes_no_refresh(dag, tasks, says):
    """With the line. Nothing is guessed."""
    errors = failed(dag(with_tasks(tasks)))
    assert "no dbt command that builds something was found" in errors
    assert says in errors
    assert "line 1" in errors


def test_what_is_computed_beside_a_command_is_said(dag):
    """A refresh with the rest is printed."""
    tasks = "BashOperator(task_id='a', bash_command='dbt run')\nBashOperator(task_id='b', bash_command=other())"
    text = imported("airflow", dag(with_tasks(tasks)))
    assert [layer["name"] for layer in spec_of(text)["layers"]] == ["a"]
    assert "line 13: BashOperator is not converted: bash_command is computed when the DAG is loaded" in comments(text)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("BashOperator(task_id='a', bash_command='dbt run', retries=int(R))", "retries is computed"),
        ("BashOperator(task_id='a', bash_command='dbt run', email=Variable.get('x'))", "email is computed"),
        ("DbtTaskGroup(project_config=PROJECT)", "project_config is not in the file"),
        ("BashOperator(task_id='a', bash_command='dbt run', trigger_rule='all_done')", "trigger_rule has no counterpart"),
        ("BashOperator(bash_command='dbt run', **MORE)", "some arguments of BashOperator are computed"),
    ],
)
def test_an_argument_that_is_computed_is_said(dag, task, says):
    """The command itself is written, and kept."""
    text = imported("airflow", dag(with_tasks(task)))
    assert len(spec_of(text)["layers"]) == 1
    assert any(says in each for each in comments(text))


def test_a_task_under_a_condition_is_said(dag):
    """Whether it exists is decided when the DAG is loaded."""
    text = imported("airflow", dag(with_tasks("if PROD:\n    BashOperator(task_id='a', bash_command='dbt run')")))
    assert any(each.startswith("line 13: the task is made in a loop or under a condition") for each in comments(text))


def test_a_dag_of_cosmos_builds_its_selection(dag):
    """Without tests if it leaves them out; with the options of dbt that it passes."""
    text = """
profile = ProfileConfig(profile_name="p", target_name="live", profiles_yml_filepath="/p.yml")
nightly = DbtDag(
    dag_id="nightly", schedule="@daily", start_date=START, profile_config=profile,
    project_config=ProjectConfig(dbt_project_path="/dbt"),
    render_config=RenderConfig(select=["tag:a", "+b"], test_behavior=TestBehavior.NONE),
    operator_args={"vars": {"days": 3, "day": "{{ ds }}"}, "dbt_cmd_flags": ["--threads", "2"]},
)
"""
    text = imported("airflow", dag(text))
    spec = spec_of(text)
    assert [layer["select"] for layer in spec["layers"]] == [["tag:a", "+b"]]
    assert "tests" not in spec
    assert spec["dbt"] == {"threads": 2, "target": "live", "vars": {"days": 3}}
    assert any("the variable day is computed" in each for each in comments(text))


def test_single_operators_of_cosmos_are_commands(dag):
    """In the order of their tasks."""
    tasks = """
seed = DbtSeedLocalOperator(task_id="seed", project_dir="/dbt", install_deps=True)
run = DbtRunKubernetesOperator(task_id="run", select=["tag:a"], exclude="b c", full_refresh=False, vars={"x": 1})
test = DbtTestLocalOperator(task_id="check", select="tag:a")
seed >> run >> test
"""
    spec = spec_of(imported("airflow", dag(with_tasks(tasks))))
    assert [(layer["select"], layer.get("exclude")) for layer in spec["layers"]] == [
        (["resource_type:seed"], None),
        (["tag:a,resource_type:model"], ["b", "c"]),
    ]
    assert (spec["tests"]["select"], spec["dbt"]["vars"]) == (["tag:a"], {"x": 1})


def test_a_pod_that_runs_dbt_is_read(dag):
    """As a container of a CronJob is."""
    spec = spec_of(imported("airflow", dag(with_tasks("KubernetesPodOperator(task_id='t', cmds=['dbt'], arguments=['run', '-s', 'a'])"))))
    assert spec["layers"][0]["select"] == ["a,resource_type:model"]


def test_one_of_several_dags_is_chosen(dag):
    """Each has its own tasks."""
    file = dag(
        "one = DAG('one', schedule='@daily', start_date=START)\n"
        "a = BashOperator(task_id='a', bash_command='dbt run -s a', dag=one)\n"
        "with DAG('two', schedule='@hourly', start_date=START):\n"
        "    b = BashOperator(task_id='b', bash_command='dbt run -s b')\n"
        "    c = BashOperator(task_id='c', bash_command='dbt run -s c')\n"
        "    c >> b\n"
        "@dag(schedule='@weekly', start_date=START)\n"
        "def three():\n"
        "    BashOperator(task_id='d', bash_command='dbt run -s d')\n"
        "three()\n"
    )
    assert "there are 3 of DAG; choose one by --only: one, two, three" in failed(file)
    names = {}
    for name in ("one", "two", "three"):
        text = imported("airflow", file, options=["--only", name])
        names[name] = [layer["name"] for layer in spec_of(text)["layers"]]
        assert not any("order" in each for each in comments(text))
    assert names == {"one": ["a"], "two": ["c", "b"], "three": ["d"]}


def test_mail_is_for_failures_and_callbacks_are_said(dag):
    """Airflow notifies an address of failures unless that is turned off."""
    args = "default_args={'email': 'a@b.example, c@d.example', 'on_failure_callback': slack}, schedule='@daily', start_date=START"
    text = imported("airflow", dag(scheduled(args)))
    assert spec_of(text)["notifications"][0]["email"]["to"] == ["a@b.example", "c@d.example"]
    assert any("on_failure_callback is Python: see `notifications`" in each for each in comments(text))
    off = "default_args={'email': 'a@b.example', 'email_on_failure': False}, schedule='@daily', start_date=START"
    assert "notifications" not in spec_of(imported("airflow", dag(scheduled(off))))


def test_a_name_that_is_computed_must_be_given(dag):
    """It would otherwise be made up."""
    file = dag("with DAG(f'dbt_{ENV}', schedule='@daily', start_date=START):\n    BashOperator(task_id='a', bash_command='dbt run')\n")
    assert "line 11: the name of the DAG is computed when it is loaded; give one by --name" in failed(file)
    assert "name: mine" in imported("airflow", file, options=["--name", "mine"])


@pytest.mark.parametrize("joined", ["[x{0}, x{0}]", "x{0} + x{0}", "f'{{x{0}}}{{x{0}}}'"])
def test_names_that_double_each_time_are_bounded(dag, joined):
    """Forty lines would otherwise take all memory, and years."""
    lines = "x0 = 'ab'\n" + "".join(f"x{number + 1} = {joined.format(number)}\n" for number in range(40))
    assert "more than 30000 values would have to be read" in failed(dag(lines + with_tasks("BashOperator(task_id='a', bash_command=x40)")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("with DAG(:", "dag.py is not valid Python: line 11"),
        ("x = 1", "there is no DAG in it"),
        ("x = {**x}\nd = DAG('d', schedule='@daily', **x)", "is nested too deeply"),
        ("x = " + "(" * 150 + "1" + ")" * 150, "no DAG in it"),
        ("x = " + "-" * 100_000 + "1", ""),
        ("x = " + "[" * 5000 + "]" * 5000, "is not valid Python"),
    ],
)
def test_a_file_that_is_none_is_an_error(dag, text, says):
    """Also one that would exhaust the stack."""
    assert says in failed(dag(text))
