"""Stored samples are judged by the goals."""

from pathlib import Path

import pytest
import yaml

from bench.verdicts import GOALS, Goal, Samples, goals_of, judge, main, percentile


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_measured_value(share, value):
    """Nearest rank, so that a percentile is always one of the values."""
    assert percentile(range(1, 101), share) == value


@pytest.mark.parametrize(("bound", "met"), [(2.0, True), (1.9, False)])
def test_a_figure_is_met_at_its_bound_and_short_beyond(bound, met):
    """ "At most" includes the bound."""
    (verdict,) = judge({"t": [1.0, 2.0, 3.0]}, [Goal("f", "t", "median", at_most=bound)])
    assert (verdict.value, verdict.met) == (2.0, met)


def test_what_was_not_measured_is_short():
    """A bench that failed halfway must not look good."""
    (verdict,) = judge({}, [Goal("f", "t", "median")])
    assert str(verdict) == "figure=f value=none goal=stated short   (not measured)"


def test_a_quotient_and_a_difference_are_of_the_same_statistic():
    """For example our duration divided by the old one, or above the floor."""
    samples = {"ours": [2.0, 4.0, 3.0], "old": [10.0, 12.0, 8.0], "floor": [1.0]}
    goals = [Goal("quotient", "ours", "median", at_most=0.35, over="old"), Goal("above", "ours", "median", at_most=1.5, minus="floor")]
    assert [(verdict.value, verdict.met) for verdict in judge(samples, goals)] == [(0.3, True), (2.0, False)]


def test_stored_samples_are_judged_by_the_command(tmp_path: Path, capsys):
    """One line per figure; exit code 1 if a goal is missed."""
    samples = Samples("operator", "2026-03-03T12:00:00Z", "make bench-operator")
    samples.add("rest_writes", 0)
    assert main([str(samples.store(tmp_path))]) == 1
    printed = capsys.readouterr().out
    assert "figure=writes_at_rest value=0 goal=<=0 met" in printed
    assert "figure=restart_ready value=none" in printed


def test_every_goal_can_be_read():
    """Of every bench."""
    for bench in yaml.safe_load(GOALS.read_text()):
        assert goals_of(bench)
