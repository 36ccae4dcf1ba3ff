"""Settings from the environment, and the format of log lines."""

import json
import logging
from datetime import timedelta

import pytest

from refresh_operator.code_policy import NO_CODE, CodeRules
from refresh_operator.errors import SettingsError
from refresh_operator.names import Ref
from refresh_operator.observability.logs import JsonFormatter, log_context
from refresh_operator.settings import settings_from

GOOD = {"WATCH_NAMESPACES": "a, b", "RUNNER_IMAGE": "runner:1"}


def test_empty_variables_keep_their_defaults():
    """Helm renders unset values as empty variables."""
    settings = settings_from({**GOOD, "RESYNC": "90s", "RECHECK": "", "RUNNER_IMAGE_PULL_SECRETS": "one,two"})
    assert (settings.namespaces, settings.runner_image) == (("a", "b"), "runner:1")
    assert (settings.resync, settings.recheck) == (timedelta(seconds=90), timedelta(seconds=15))
    assert settings.image_pull_secrets == ("one", "two")


def test_patterns_of_code_come_from_the_chart():
    """Without them, refreshes run the image of the chart, with the project in it."""
    settings = settings_from({**GOOD, "RUNNER_ALLOWED_IMAGES": "a/*", "PROJECTS_ALLOWED_URLS": "https://a/x/*,ssh://git@a/*"})
    assert settings.code_rules == CodeRules(("a/*",), ("https://a/x/*", "ssh://git@a/*"))
    assert settings_from(GOOD).code_rules == NO_CODE


def test_cluster_wide_watches_all_namespaces():
    """No namespace needs to be listed then."""
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
def test_an_invalid_setting_names_its_variable(environment, names):
    """The message has to say which variable to change."""
    with pytest.raises(SettingsError, match=names):
        settings_from(environment)


def test_log_lines_have_the_refresh_and_the_error():
    """They are JSON, to be filtered by refresh."""
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "it %s", ("broke",), None)
    with log_context(Ref("n", "a")):
        line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["namespace"], line["refresh"]) == ("warning", "it broke", "n", "a")
    assert "refresh" not in json.loads(JsonFormatter().format(record))
    record.run = "a-29000000"
    assert json.loads(JsonFormatter().format(record))["run"] == "a-29000000"
