"""The file with failing rows of tests: without secrets, always valid JSON, and of limited size."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from refresh_runner.core.secrets import Redactor
from refresh_runner.validation.samples import Rows, to_json

REDACT = Redactor(["424242", "s3cr3t-s3cr3t-s3cr3t", "false"])


def kept(found: dict[str, Rows]) -> dict[str, Rows]:
    """Return the content of the file."""
    text = to_json(found, REDACT)
    assert text is not None
    read: dict[str, Rows] = json.loads(text)
    return read


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (424242, "***"),
        (14242420, "1***0"),
        ("the token is 424242", "the token is ***"),
        ("-" * 190 + "s3cr3t-s3cr3t-s3cr3t", "-" * 190 + "***"),
        (4242, 4242),
        (True, True),
        (False, "***"),
        (None, None),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_a_value_is_shown_without_secrets(value: JsonValue, shown: JsonValue) -> None:
    """Even if a secret is a number, or crosses the limit at which a value is clipped."""
    assert kept({"unique_a": [{"id": value}]}) == {"unique_a": [{"id": shown}]}


def test_names_are_without_secrets_too() -> None:
    """Names of tests and columns are redacted as well."""
    assert kept({"test_424242": [{"column_424242": 1}]}) == {"test_***": [{"column_***": 1}]}


def test_the_file_is_bounded() -> None:
    """Rows beyond a megabyte are omitted; the first ones are kept."""
    wide: dict[str, JsonValue] = {f"column_{number}": "y" * 190 for number in range(1600)}
    found = kept({"a": [wide] * 2, "b": [wide] * 2})
    assert {name: len(rows) for name, rows in found.items()} == {"a": 2, "b": 1}
    assert found["b"] == [wide]


def test_there_is_no_file_of_nothing() -> None:
    """Tests without rows to show write no file."""
    assert to_json({"a": []}, REDACT) is None
