"""dbt's objects as JSON: they are equal after reading, and no text can make the reader execute code."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dbt.artifacts.resources.types import NodeType
from dbt.contracts.graph.nodes import Macro

from refresh_runner.dbt.json_objects import UnwritableError, dumps, loads

MACRO = Macro(
    "a", NodeType.Macro, "package", "path", "path", "macro.package.a", "{% macro a() %}é{% endmacro %}", meta={"since": date(2026, 2, 3)}
)


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2.5, None, True, "é\n"], "b": {}},
        {1: "a", ("b", "c"): [(1, 2)]},
        {"\ue000": "a key that means something in the file"},
        [{datetime(2026, 2, 3, tzinfo=UTC)}, {date(2026, 2, 3)}],
        [timedelta(seconds=3), Path("/a/b"), NodeType.Model],
        {"macros": {"macro.package.a": MACRO}},
    ],
)
def test_what_was_written_is_read_back(content: object) -> None:
    """Including the classes of all values: dbt compares some by the identity of their class."""
    found = loads(dumps(content))
    assert found == content
    assert repr(found) == repr(content)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "pathlib:PosixPath",
        "dbt.cli.main:dbtRunner",
        "dbt.clients.system:run_cmd",
        "dbt.clients.system:os.system",
        "dbt.contracts.graph.nodes:Macro.from_dict",
        "refresh_runner.core.errors:Failure",
        "dbt.no_such_module:Thing",
    ],
)
def test_a_class_that_is_not_dbts_data_is_refused(name: str) -> None:
    """The file is in the user's project. A user who can write there must not be able to make the runner execute code."""
    text = json.dumps([name]) + "\n" + json.dumps({"\ue000": 0, "value": "touch /tmp/owned"})
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize("text", ["", "[]", "not JSON\n{}", "[]\n" + json.dumps({"\ue000": 3}), "[]\n" + json.dumps({"\ue000": "x"})])
def test_a_text_of_another_making_is_refused(text: str) -> None:
    """For example, a truncated file."""
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize("content", [object(), {"a": lambda: None}, [b"bytes"]])
def test_what_cannot_be_written_is_refused(content: object) -> None:
    """The project is then parsed in every run, as without a cache."""
    with pytest.raises(UnwritableError):
        dumps(content)
