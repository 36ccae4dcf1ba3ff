"""The message about a failed run."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from refresh_api.notifications import NotifyWhen
from refresh_api.redaction import Redactor
from refresh_notify import NotifiedRun, message_for
from refresh_notify.message import message_for_all

FAILED = NotifiedRun(
    refresh="phase2-dashboards-refresh",
    namespace="dashboards",
    title="Phase 2",
    run="phase2-dashboards-refresh-29384",
    reason="LayerFailed",
    message='3/6 marts: mart_creances_agees: column "x" does not exist',
    hint="correct mart_creances_agees in the dbt project",
    step="3/6 marts",
    attempts=3,
    marts="0/4",
)


def test_the_subject_says_what_failed_where_and_why():
    """It has to fit on the screen of a phone."""
    assert message_for(FAILED).subject == "✗ Phase 2 refresh failed at 3/6 marts: LayerFailed"


def test_the_text_says_what_to_do_next():
    """It has the run, the model with its error, a hint, and commands for more details."""
    text = message_for(FAILED).text
    for part in (str(FAILED.run), FAILED.message, FAILED.hint, "0/4", "kubectl -n dashboards logs job/phase2-dashboards-refresh-29384"):
        assert part in text


def test_the_text_has_the_revision_of_a_fetched_project():
    """In short form; the project in the image has none. Users choose the names of branches, so control characters are replaced."""
    assert "revision" not in message_for(FAILED).text.lower()
    text = message_for(replace(FAILED, revision="main@sha1:" + "6e27e9a9" * 5)).text
    assert "Revision of the project: main@6e27e9a9" in text.splitlines()
    hostile = message_for(replace(FAILED, revision="a\u202eb@sha1:" + "6e27e9a9" * 5)).text
    assert "a b@6e27e9a9" in hostile


def test_a_link_stands_for_the_commands():
    """If the chart sets a template for links."""
    text = message_for(replace(FAILED, link_template="https://runs.example/{namespace}/{name}/{run}")).text
    assert "https://runs.example/dashboards/phase2-dashboards-refresh/phase2-dashboards-refresh-29384" in text
    assert "kubectl" not in text


def test_a_subject_is_one_line():
    """A line break in it would be rejected as a forged header."""
    assert "\n" not in message_for(replace(FAILED, title="a\nb")).subject


def test_a_long_error_is_cut():
    """Slack rejects messages that are too long."""
    assert len(message_for(replace(FAILED, message="x" * 50_000)).text) < 4000


def test_stale_data_are_about_no_run():
    """The message names no run, and no command that shows the log of one."""
    about: dict[str, Any] = {"run": None, "step": None, "hint": "", "attempts": 1, "marts": None, "when": NotifyWhen.STALE}
    stale = replace(FAILED, **about, reason="Stale", message="the last successful run finished at 05:30, more than 4h ago")
    message = message_for(replace(stale, link_template="https://runs.example/{run}"))
    assert (message.subject, message.run.link, message.run.event) == ("⚠ Phase 2 refresh has stale data", None, "Stale")
    assert message.text.startswith("phase2-dashboards-refresh has stale data\nthe last successful run finished at 05:30, more than 4h ago")
    assert "describe dashboardrefresh phase2-dashboards-refresh" in message.text
    assert "logs job" not in message.text
    over = message_for(replace(stale, is_over=True, message="the last successful run finished at 11:02, at most 4h ago"))
    assert (over.subject, over.run.event, over.run.resolves) == ("✓ Phase 2 refresh has fresh data again", "Fresh", True)


def test_a_missed_run_is_about_no_run():
    """The message names the time, the reason and what to do, and so does its end, which is another event."""
    about: dict[str, Any] = {
        "run": None,
        "step": None,
        "hint": "raise the interval",
        "attempts": 1,
        "marts": None,
        "when": NotifyWhen.MISSED,
    }
    missed = replace(FAILED, **about, reason="PreviousStillRunning", message="no run started at 05:30: the previous run was still active")
    message = message_for(replace(missed, link_template="https://runs.example/{run}"))
    assert (message.subject, message.run.link, message.run.event) == (
        "⚠ Phase 2 refresh missed a run: PreviousStillRunning",
        None,
        "Missed",
    )
    assert message.text.splitlines()[1:3] == [missed.message, "What to do: raise the interval"]
    assert "logs job" not in message.text
    over = message_for(replace(missed, is_over=True, reason="RunStarted", message="the scheduled run of 06:00 has started", hint=""))
    assert (over.subject, over.run.event, over.run.resolves) == ("✓ Phase 2 refresh is on schedule again", "OnSchedule", True)


def test_warnings_and_a_recovery_are_no_failure():
    """Their subjects begin with another sign, and a recovery says since when the refresh had failed."""
    good = replace(FAILED, reason="Succeeded", message="12 models built", hint="", step=None, attempts=1, marts="4/4")
    warned = message_for(replace(good, when=NotifyWhen.WARNED, message="4/6 tests: 1 test warned"))
    assert warned.subject == "⚠ Phase 2 refresh succeeded with warnings"
    assert "4/6 tests: 1 test warned" in warned.text
    since = datetime(2026, 3, 3, 9, 4, tzinfo=UTC)
    recovered = message_for(replace(good, when=NotifyWhen.RECOVERED, failing_since=since))
    assert recovered.subject == "✓ Phase 2 refresh recovered"
    says = "recovered, after failing since 2026-03-03T09:04:00Z"
    assert recovered.text.startswith(f"phase2-dashboards-refresh (run phase2-dashboards-refresh-29384) {says}\n12 models built")


AWAY = replace(FAILED, reason="WarehouseUnreachable", message="cannot connect to the warehouse db:5432: refused", hint="check", note="5m")
CAUSE = "warehouse of Secret warehouse"


def named(*names: str, **changes: Any) -> list[NotifiedRun]:
    return [replace(AWAY, refresh=name, title=name, run=f"{name}-1", **changes) for name in names]


def test_one_message_lists_all_refreshes_that_failed_for_one_cause():
    """What they have in common is said once. One refresh alone gets its usual message."""
    message = message_for_all(named("a", "b", "c"), CAUSE, Redactor())
    assert message.subject == f"✗ 3 refreshes failed: {CAUSE}"
    assert message.text.splitlines() == [
        f"3 refreshes in namespace dashboards failed: {CAUSE}",
        AWAY.message,
        "What to do: check",
        "- a (run a-1)",
        "- b (run b-1)",
        "- c (run c-1)",
        "5m",
    ]
    assert message.run.link is None
    (alone,) = named("a")
    assert message_for_all([alone], CAUSE, Redactor()) == message_for(alone)
    assert message_for(alone).text.splitlines()[-1] == "5m"


def test_messages_that_differ_are_listed_with_their_refreshes():
    """They may hide another cause. A recovery says since when its refresh had failed."""
    one, other = named("a", "b")
    text = message_for_all([one, replace(other, message="password refused\nfor user x")], CAUSE, Redactor()).text
    assert f"- a (run a-1): {AWAY.message}" in text
    assert "- b (run b-1): password refused for user x" in text
    since = datetime(2026, 3, 3, 9, 4, tzinfo=UTC)
    over = message_for_all(named("a", "b", when=NotifyWhen.RECOVERED, failing_since=since, hint=""), CAUSE, Redactor())
    assert over.subject == f"✓ 2 refreshes recovered: {CAUSE}"
    assert "- a (run a-1), after failing since 2026-03-03T09:04:00Z" in over.text


def test_a_message_about_many_refreshes_is_short_and_has_no_secret():
    """It lists forty of them and counts the others. A secret at the place of a cut leaves no half of it."""
    many = [replace(each, message="x" * 110 + f" geheimnis{number}") for number, each in enumerate(named(*(f"n{n:03}" for n in range(60))))]
    text = message_for_all(many, CAUSE, Redactor(["geheimnis7"])).text
    assert "n039" in text
    assert "n040" not in text
    assert "… and 20 more" in text
    assert len(text) < 10_000
    assert not any("geheimn" in line for line in text.splitlines() if "n007" in line)
