"""What a requested run does, as users write it."""

import pytest

from refresh_api.order import ModeKind, RunMode


@pytest.mark.parametrize("text", ["refresh", "full-refresh", "from=marts", "only=cache", "rollback", "resume"])
def test_a_mode_is_read_as_it_is_written(text: str) -> None:
    """Reading and writing a mode gives the same text."""
    assert str(RunMode.parse(text)) == text


@pytest.mark.parametrize("text", ["", "Rollback", "from", "from=", "rollback=marts", "refresh=", "again"])
def test_what_is_no_mode_is_refused_with_what_can_be_written(text: str) -> None:
    """The error lists all modes."""
    with pytest.raises(ValueError, match=r"write one of refresh, full-refresh, from=STEP, only=STEP, rollback, resume"):
        RunMode.parse(text)


def test_a_step_that_the_refresh_does_not_have_is_refused_with_those_that_it_has() -> None:
    """A mode is checked against the refresh's steps."""
    mode = RunMode.parse("from=mart")
    with pytest.raises(ValueError, match="there is no step 'mart'; the steps are staging, marts"):
        mode.check(["staging", "marts"])
    RunMode.parse("from=marts").check(["staging", "marts"])
    RunMode(ModeKind.REFRESH).check([])
