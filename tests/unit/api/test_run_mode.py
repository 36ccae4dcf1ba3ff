"""Modes and variables of requested runs, as users write them."""

import pytest

from refresh_api.run_request import ModeKind, RunMode, run_vars, vars_text


@pytest.mark.parametrize("text", ["refresh", "full-refresh", "from=marts", "only=cache", "rollback", "resume", "select=tag:x a", "notify"])
def test_a_mode_is_read_as_it_is_written(text: str) -> None:
    """Reading and writing a mode gives the same text."""
    assert str(RunMode.parse(text)) == text


@pytest.mark.parametrize("text", ["", "Rollback", "from", "from=", "rollback=marts", "refresh=", "again", "select=", "select= "])
def test_what_is_no_mode_is_refused_with_what_can_be_written(text: str) -> None:
    """The error lists all modes."""
    known = "refresh, full-refresh, from=STEP, only=STEP, rollback, resume, select=SELECTOR, notify"
    with pytest.raises(ValueError, match=f"write one of {known}"):
        RunMode.parse(text)


def test_a_step_that_the_refresh_does_not_have_is_refused_with_those_that_it_has() -> None:
    """A mode is checked against the refresh's steps."""
    mode = RunMode.parse("from=mart")
    with pytest.raises(ValueError, match="no step is named 'mart'; the steps are staging, marts"):
        mode.check(["staging", "marts"])
    RunMode.parse("from=marts").check(["staging", "marts"])
    RunMode(ModeKind.REFRESH).check([])


def test_an_option_of_dbt_is_no_selector() -> None:
    """Otherwise users could pass any option to dbt."""
    with pytest.raises(ValueError, match="'--full-refresh': write one dbt selector"):
        RunMode.parse("select=mart_a --full-refresh")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "write a JSON object"),
        ("{", "write a JSON object"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ('{"a b": 1}', "'a b' is not a variable name"),
        ('{"as_of": "tomorrow"}', "as_of must be a date, written YYYY-MM-DD, not 'tomorrow'"),
        ('{"a": "' + "x" * 1024 + '"}', "at most 1024 characters"),
    ],
)
def test_variables_that_can_not_be_are_refused(text: str, says: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(ValueError, match=says):
        run_vars(text)


def test_variables_of_a_command_line_are_json_where_they_can_be() -> None:
    """Everything else is a string, including dates."""
    assert vars_text([]) is None
    text = vars_text(["as_of=2026-01-31", "zone=5", "all=true", "name=a=b"])
    assert text is not None
    assert run_vars(text) == {"as_of": "2026-01-31", "zone": 5, "all": True, "name": "a=b"}
    with pytest.raises(ValueError, match="'zone': write NAME=VALUE"):
        vars_text(["zone"])
