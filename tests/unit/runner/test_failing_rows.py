"""The file of rows that tests found: no secret in it, always JSON, never too long."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from refresh_runner.core.secrets import Redactor
from refresh_runner.validation.samples import Rows, to_json

REDACT = Redactor(["424242", "s3cr3t-s3cr3t-s3cr3t", "false"])


def kept(found: dict[str, Rows]) -> dict[str, Rows]:
    """What the file holds."""
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
    """Also where one is a number, or lies across the end of what is kept."""
    assert kept({"unique_a": [{"id": value}]}) == {"unique_a": [{"id": shown}]}


def test_names_are_without_secrets_too() -> None:
    """Of tests and of columns."""
    assert kept({"test_424242": [{"column_424242": 1}]}) == {"test_***": [{"column_***": 1}]}


def test_the_file_is_bounded() -> None:
    """Rows beyond a megabyte are left out, the first ones stay."""
    wide: dict[str, JsonValue] = {f"column_{number}": "y" * 190 for number in range(1600)}
    found = kept({"a": [wide] * 2, "b": [wide] * 2})
    assert {name: len(rows) for name, rows in found.items()} == {"a": 2, "b": 1}
    assert found["b"] == [wide]


def test_there_is_no_file_of_nothing() -> None:
    """Tests that found nothing that could be looked at leave none."""
    assert to_json({"a": []}, REDACT) is None
