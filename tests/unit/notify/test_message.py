"""The message about a failed run."""

from dataclasses import replace

from refresh_notify import FailedRun, message_for

FAILED = FailedRun(
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
    for part in (FAILED.run, FAILED.message, FAILED.hint, "0/4", "kubectl -n dashboards logs job/phase2-dashboards-refresh-29384"):
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
