"""What the chart tells the operator, and what the operator's log lines look like."""

import json
import logging
from datetime import timedelta

import pytest

from refresh_operator.errors import SettingsError
from refresh_operator.names import Ref
from refresh_operator.observability.logs import JsonFormatter, log_context
from refresh_operator.settings import settings_from

GOOD = {"WATCH_NAMESPACES": "a, b", "RUNNER_IMAGE": "runner:1"}


def test_settings_come_from_the_environment():
    """What is empty keeps its default."""
    settings = settings_from({**GOOD, "RESYNC": "90s", "RECHECK": "", "RUNNER_IMAGE_PULL_SECRETS": "one,two"})
    assert (settings.namespaces, settings.runner_image) == (("a", "b"), "runner:1")
    assert (settings.resync, settings.recheck) == (timedelta(seconds=90), timedelta(seconds=15))
    assert settings.image_pull_secrets == ("one", "two")


def test_cluster_wide_leaves_the_namespaces_open():
    """None named: all of them."""
    assert settings_from({**GOOD, "WATCH_CLUSTER_WIDE": "true"}).namespaces == ()


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, "WATCH_NAMESPACES"),
        ({"WATCH_NAMESPACES": "a"}, "RUNNER_IMAGE"),
        ({**GOOD, "RESYNC": "often"}, "RESYNC"),
        ({**GOOD, "SECRETS_POLICY": "labelled"}, "SECRETS_POLICY"),
    ],
)
def test_a_wrong_setting_is_named(environment, names):
    """By the variable that has to be changed."""
    with pytest.raises(SettingsError, match=names):
        settings_from(environment)


def test_each_line_names_its_refresh():
    """JSON, with the error where there is one."""
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "it %s", ("broke",), None)
    with log_context(Ref("n", "a")):
        line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["namespace"], line["refresh"]) == ("warning", "it broke", "n", "a")
    assert "refresh" not in json.loads(JsonFormatter().format(record))
    record.run = "a-29000000"
    assert json.loads(JsonFormatter().format(record))["run"] == "a-29000000"
