"""Schedules of Dagster as refreshes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.imports import comments, example, import_files, imported, imported_example, spec_of

ASSETS = """
from dagster import AssetSelection, DefaultScheduleStatus, ScheduleDefinition, define_asset_job, schedule
from dagster_dbt import build_dbt_asset_selection, build_schedule_from_dbt_selection, dbt_assets

@dbt_assets(manifest=M)
def models(context, dbt):
    yield from dbt.cli(["build"], context=context).stream()

@dbt_assets(manifest=M, select="tag:x tag:y", exclude="old")
def some(context, dbt):
    yield from dbt.cli(["run", "--target", "live"], context=context).stream()
    yield from dbt.cli(["test"], context=context).stream()
"""


@pytest.fixture
def file(tmp_path: Path):
    """Write a file with two sets of assets, and return it."""

    def write(text: str, assets: str = ASSETS) -> Path:
        (tmp_path / "defs.py").write_text(assets + text)
        return tmp_path / "defs.py"

    return write


def failed(file: Path, *options: str) -> str:
    code, output, errors = import_files("dagster", file, options=list(options))
    assert (code, output) == (1, "")
    return errors


def selected(text: str) -> list[tuple[list[str], list[str] | None]]:
    return [(layer["select"], layer.get("exclude")) for layer in spec_of(text)["layers"]]


def test_the_example_becomes_its_refresh():
    """Two files, of which one has the schedule and the other the assets with their command."""
    text = imported_example("Dagster")
    assert "name: velos-nightly" in text
    spec = spec_of(text)
    assert (spec["schedule"], spec["timeZone"], spec["timeout"], spec["retries"]) == ("15 4 * * *", "Europe/Paris", "30m", 2)
    assert selected(text) == [(["+trajets_par_jour"], ["longs_trajets"])]
    assert spec["dbt"] == {"target": "prod"}
    assert not any("UI" in each for each in comments(text))
    other = imported("dagster", *example("Dagster"), options=["--only", "velos_hourly_schedule"])
    assert (spec_of(other)["schedule"], selected(other)) == ("0 * * * *", [(["path:models/preparation"], ["longs_trajets"])])
    assert "name: velos-hourly" in other
    assert any("starts a schedule by its UI" in each for each in comments(other))


def test_the_place_names_the_file_if_there_are_several():
    """A line alone would not say where."""
    code, _, errors = import_files("dagster", example("Dagster")[0], options=["--only", "velos_nightly"])
    assert code == 1
    assert "line 21: velos_assets is not defined with @dbt_assets in the files: give the file that defines it, too" in errors
    said = comments(imported("dagster", *example("Dagster"), options=["--only", "velos_hourly_schedule"]))
    assert any("dagster_schedules.py line 8: " in each for each in said)


@pytest.mark.parametrize(
    ("job", "layers"),
    [
        ("selection='*'", 2),
        ("selection=AssetSelection.all()", 2),
        ("", 2),
        ("selection=AssetSelection.assets(models)", 1),
        ("selection=[models]", 1),
        ("selection=AssetSelection.assets(models, some)", 2),
    ],
)
def test_a_selection_of_assets_is_that_of_its_functions(file, job, layers):
    """All assets of the files, or those that are named."""
    text = f"job = define_asset_job('j', {job})\ns = ScheduleDefinition(job=job, cron_schedule='0 5 * * *')\n"
    text = imported("dagster", file(text))
    assert len(spec_of(text)["layers"]) == layers
    assert "name: j\n" in text.replace("}", "\n")


def test_a_selection_narrows_that_of_the_assets(file):
    """Both apply in Dagster: a model is built if both select it."""
    text = "s = build_schedule_from_dbt_selection([some], 'j', '0 5 * * *', dbt_select='a tag:b', dbt_exclude='c')\n"
    text = imported("dagster", file(text))
    selectors = ["tag:x,a", "tag:x,tag:b", "tag:y,a", "tag:y,tag:b"]
    assert selected(text) == [([f"{each},resource_type:model" for each in selectors], ["old", "c"])]
    assert spec_of(text)["tests"]["select"] == selectors
    assert spec_of(text)["dbt"] == {"target": "live"}


def test_the_whole_project_is_selected_by_default(file):
    """As build_schedule_from_dbt_selection does."""
    assert selected(imported("dagster", file("s = build_schedule_from_dbt_selection([models], 'j', '@daily')"))) == [(["fqn:*"], None)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no schedule in it"),
        ("s = ScheduleDefinition(job=job, cron_schedule='0 5 * * *')", "the job of the schedule is not in the files"),
        ("s = ScheduleDefinition(job=make(), cron_schedule='0 5 * * *')", "the job of the schedule is not in the files"),
        ("s = ScheduleDefinition(target=AssetSelection.groups('x'), cron_schedule='0 5 * * *')", "not one that dbt_select says"),
        ("s = ScheduleDefinition(target=[models], cron_schedule=CRON)", "cron_schedule is no cron line that is written here"),
        ("s = ScheduleDefinition(target=[models], cron_schedule=['0 1 * * *', '0 2 * * 1'])", "has 2 cron lines"),
        ("s = ScheduleDefinition(target=[models], cron_schedule='0 0 5 * * *')", "five fields"),
        ("s = ScheduleDefinition(**settings)", "some arguments of the schedule are computed"),
        ("s = build_schedule_from_dbt_selection([models], 'j', '@daily', dbt_select=which())", "dbt_select is computed"),
        ("s = build_schedule_from_dbt_selection([models], 'j', '@daily', dbt_selector='x')", "dbt_selector names a selector"),
        ("s = build_schedule_from_dbt_selection([models], 'j', '@daily', dbt_selector=which())", "dbt_selector is computed"),
        ("s = build_schedule_from_dbt_selection([others], 'j', '@daily')", "others is not defined with @dbt_assets in the files"),
        ("s = build_schedule_from_dbt_selection(models.assets, 'j', '@daily')", "not defined with @dbt_assets in the files"),
    ],
)
def test_what_is_computed_or_elsewhere_makes_no_refresh(file, text, says):
    """With the line. Nothing is guessed."""
    assert says in failed(file(text))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("dbt.cli(words(), context=context)", "the words of its command are computed when it runs"),
        ("dbt.cli(['build', '--select', which()], context=context)", "the words of its command are computed when it runs"),
        ("dbt.run()", "calls dbt in another way than by .cli([…])"),
        ("dbt.cli(['run-operation', 'grant'])", "runs grant"),
    ],
)
def test_a_command_that_is_computed_makes_no_refresh(file, call, says):
    """What the assets run is in the body of their function."""
    assets = ASSETS.partition("@dbt_assets")[0] + f"@dbt_assets(manifest=M)\ndef models(context, dbt):\n    {call}\n"
    assert says in failed(file("s = build_schedule_from_dbt_selection([models], 'j', '@daily')", assets))


def test_a_function_that_is_a_schedule_is_read_and_its_body_said(file):
    """The body can skip a run, or give it a configuration."""
    text = "@schedule(cron_schedule='0 5 * * 1', target=[models])\ndef weekly(context):\n    return {}\n"
    text = imported("dagster", file(text))
    assert spec_of(text)["schedule"] == "0 5 * * 1"
    assert "name: weekly" in text
    assert any("the body of the schedule is Python, and not read" in each for each in comments(text))


def test_a_time_zone_that_is_computed_is_said(file):
    """The line is read in UTC until somebody says otherwise."""
    text = imported("dagster", file("s = build_schedule_from_dbt_selection([models], 'j', '@daily', execution_timezone=ZONE)"))
    assert spec_of(text)["timeZone"] == "Etc/UTC"
    assert any("execution_timezone is computed when the schedule is loaded: set `timeZone`" in each for each in comments(text))


def test_nothing_of_the_files_is_run(tmp_path, file):
    """They could do anything when they are imported."""
    mark = tmp_path / "ran"
    text = f"open({str(mark)!r}, 'w')\ns = build_schedule_from_dbt_selection([models], 'j', '@daily')"
    assert imported("dagster", file(text))
    assert not mark.exists()
