"""Texts from people and programs: files, run requests, cron lines, JSON. Each is read, or refused with a message, in bounded time."""

from __future__ import annotations

import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fuzz.strategies import GOOD, SPEC, changed, free, hostile, is_plain, refreshes, within
from refresh_api import cron
from refresh_api.names import RUN_REQUEST_ENV
from refresh_api.objects import ItemCutter, ListReader, members, object_of
from refresh_api.plain import plain
from refresh_api.run_request import RunMode, run_vars, vars_text
from refresh_api.values import duration, quantity, share
from refresh_cli.kubectl import CliError, RefreshView, parse_refresh
from refresh_cli.show import history_text, status_text
from refresh_runner.cli.lint import Check
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file, run_request_from_pod
from refresh_runner.model.plan import Attempt, plan_for
from support.imports import SOURCES, example, import_files
from support.snapshots import NOW

FILE: dict[str, object] = {
    "apiVersion": GOOD["apiVersion"],
    "kind": GOOD["kind"],
    "metadata": {"name": "phase2"},
    "spec": {name: value for name, value in SPEC.items() if name != "suspendUntil"},
}
SAMPLE = yaml.safe_dump(FILE)
RUN_REQUEST = {
    "refresh": {"name": "phase2", "namespace": "default"},
    "generation": 3,
    "spec": FILE["spec"],
    "mode": "from=marts",
    "vars": {"a": 1},
}
PIECES = ("", "\t", "&a ", "*a", "<<: *a\n", "!!python/name:os.system ", "- ", "? ", "[" * 200, "{a: ", "\x00", "é", "---\n", "'")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Generate a text with pieces cut out, duplicated or inserted."""
    for _ in range(draw(st.integers(1, 5))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 40)))
        pieces = (
            "",
            text[begin:end] * 2,
            "\t",
            "&a ",
            "*a",
            "<<: *a\n",
            "!!python/name:os.system ",
            "- ",
            "? ",
            "[" * 200,
            "{a: ",
            "\x00",
            "é",
            "---\n",
            "'",
        )
        text = text[:begin] + draw(st.sampled_from(pieces)) + text[end:]
    return text


def check_file(text: str) -> None:
    """Assert that a file is a run request with a plan, or is refused in lines of bounded length that are safe for a terminal."""
    with tempfile.TemporaryDirectory() as folder, within(4):
        file = Path(folder) / "refresh.yaml"
        file.write_bytes(text.encode(errors="surrogatepass"))
        try:
            run_request = run_request_from_file(file)
        except InvalidRunRequestError as error:
            check_problems(error)
        else:
            assert plan_for(run_request, Attempt("lint"), date(2026, 3, 3)).steps


def check_problems(error: InvalidRunRequestError) -> None:
    """Assert that problems are a few lines of bounded length that are safe for a terminal."""
    lines = [plain(str(Check(False, problem.field, problem.message))) for problem in error.problems]
    assert 0 < len(lines) <= 51
    assert max(map(len, lines)) < 2000
    assert is_plain("".join(lines))


def seen_of(refresh: Any) -> RefreshView:
    """Return what the plugin reads from kubectl's output."""
    found = refresh if isinstance(refresh, dict) else {}
    return parse_refresh("\n".join(json.dumps(found[part]) if part in found else "" for part in ("metadata", "status")), "phase2")


def test_the_control_the_sample_is_an_order() -> None:
    """The sample must be accepted as a file and in a pod, or the tests below would show nothing."""
    check_file(SAMPLE)
    assert run_request_from_pod({RUN_REQUEST_ENV: json.dumps(RUN_REQUEST)}).mode == "from=marts"
    assert status_text(seen_of(GOOD), NOW).startswith("phase2: ")


@given(damaged(SAMPLE))
def test_a_damaged_file_is_read_or_refused(text: Any) -> None:
    """People edit files by hand and make mistakes."""
    check_file(text)


@given(changed(FILE))
def test_a_hostile_file_is_read_or_refused(value: Any) -> None:
    """YAML has many ways to write a value."""
    try:
        text = yaml.safe_dump(value, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return
    check_file(text)


@given(changed(RUN_REQUEST) | free)
def test_a_pods_run_request_is_read_or_refused(value: Any) -> None:
    """The operator may have another version than the runner."""
    with within(3):
        try:
            run_request = run_request_from_pod({RUN_REQUEST_ENV: json.dumps(value)})
        except InvalidRunRequestError as error:
            check_problems(error)
        else:
            assert plan_for(run_request, Attempt("run"), date(2026, 3, 3)).steps


@given(refreshes)
def test_the_plugin_shows_whatever_there_is(refresh: Any) -> None:
    """Or it reports another version; nothing reaches a terminal but plain text."""
    with within(3):
        try:
            seen = seen_of(refresh)
        except CliError:
            return
        for text in (status_text(seen, NOW), history_text(seen)):
            assert is_plain(plain(text))


@given(values, st.integers(1, 200))
def test_json_is_cut_as_it_is_parsed(value: Any, size: Any) -> None:
    """Items of lists and members of objects are cut at their limit, in whatever chunks the text arrives."""
    items = [{"n": number, "v": value} for number in range(3)]
    text = json.dumps({"items": items, "metadata": {"resourceVersion": "5"}, "x": ']}\\"['}).encode()
    cutter, cut = ItemCutter(1), []
    for begin in range(0, len(text), size):
        cut += cutter.feed(text[begin : begin + size])
    last, rest = cutter.end()
    assert [json.loads(each) for each in [*cut, *last]] == items
    assert rest["metadata"] == {"resourceVersion": "5"}
    if isinstance(value, dict):
        assert {json.loads(key): json.loads(each) for key, each in members(json.dumps(value).encode())} == value


@given(
    st.binary(max_size=300) | st.text(alphabet='[]{}",:\\ae1 ', max_size=200).map(str.encode) | damaged(json.dumps(GOOD)).map(str.encode)
)
def test_what_is_no_json_is_refused(text: Any) -> None:
    """Callers catch ValueError alone."""
    with within(2):
        reader = ListReader()
        for read in (lambda: object_of(text), lambda: (reader.feed(text), reader.end()), lambda: members(text)):
            try:
                read()
            except ValueError:
                continue


@given(
    st.text(alphabet="0123456789*/,-? JANMONjan²٣", max_size=40),
    st.sampled_from(("Etc/UTC", "Europe/Paris", "Pacific/Apia", "x", "..", "")),
)
def test_a_cron_line_is_read_or_refused(line: Any, zone: Any) -> None:
    """Its next runs must be computed quickly, too."""
    with within(3):
        try:
            schedule = cron.parse(line, zone)
        except (ValueError, LookupError):
            return
        for _, start in zip(range(3), schedule.runs_after(NOW), strict=False):
            assert start > NOW


@given(hostile | st.text(max_size=60))
def test_small_values_are_read_or_refused(value: Any) -> None:
    """Durations, shares, quantities, modes, variables."""
    text = str(value)
    for read in (duration, share, quantity, RunMode.parse, run_vars, lambda text: vars_text([text])):
        try:
            read(text)
        except ValueError:
            continue


@pytest.mark.parametrize("levels", [10, 1000, 100_000])
def test_variables_of_any_depth_are_read_or_refused(levels: Any) -> None:
    """Requests and command lines may nest them."""
    text = '{"a": ' + "[" * levels + "]" * levels + "}"
    for read in (run_vars, lambda text: vars_text([f"a={text}"])):
        try:
            read(text)
        except ValueError:
            continue


SECRET = "Vel0drome-1936"
"""The value of an environment variable in these examples."""


@given(st.data())
def test_damaged_sources_are_imported_or_refused(data: st.DataObject) -> None:
    """What is printed is a valid refresh, an error is one line, and neither has the value of an environment variable."""
    name = data.draw(st.sampled_from(["CronJob", "dagctl-dbt", "BashOperator"]))
    (path,) = example(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        file.write_text(data.draw(damaged(path.read_text())))
        code, output, errors = import_files(SOURCES[name][0], file)
        assert (code, bool(output)) in ((0, True), (1, False))
        assert SECRET not in output + errors
        assert is_plain(output)
        assert len(errors.splitlines()) == code
        if output:
            file.write_text(output)
            run_request_from_file(file)
