"""Run requests from a user's file or a pod's environment, and the errors in them."""

import time
from pathlib import Path

import pytest

from refresh_api.names import RUN_REQUEST_ENV
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file, run_request_from_pod

SAMPLE = Path(__file__).parents[3] / "deploy" / "samples" / "phase2.yaml"


def problems(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "refresh.yaml"
    file.write_text(text)
    with pytest.raises(InvalidRunRequestError) as caught:
        run_request_from_file(file)
    return [str(problem) for problem in caught.value.problems]


def test_every_problem_is_named_with_its_field(tmp_path: Path):
    """All problems are reported at once, so that users need not fix them one by one."""
    found = problems(
        "apiVersion: dashboards.sigeti.io/v1alpha1\nkind: DashboardRefresh\nmetadata: {name: x}\n"
        'spec: {schedule: "61 * * * *", timeZone: Mars/Base, warehouse: {secretRef: {}}, foo: 1,'
        " layers: [{name: a, select: [x], timeout: soon}]}\n",
        tmp_path,
    )
    assert found == [
        "spec.schedule: minute: '61' is not between 0 and 59",
        "spec.timeZone: unknown time zone 'Mars/Base'; write an IANA name like Europe/Paris",
        "spec.warehouse.secretRef.name: is missing",
        "spec.layers[0].timeout: write a duration like 90s, 15m or 1h30m, between 1s and 168h",
        "spec.foo: unknown field",
    ]


def test_what_is_no_yaml_is_said_to_be_none(tmp_path: Path):
    """The message has the line."""
    (problem,) = problems("a: [b", tmp_path)
    assert "is not valid YAML" in problem
    assert "line" in problem


def test_what_yaml_reads_otherwise_than_it_was_meant_is_refused(tmp_path: Path):
    """A duplicate key, a number instead of a string, and a name that Kubernetes would reject."""
    text = SAMPLE.read_text()
    twice = problems(text + "metadata: {name: other}\n", tmp_path)
    assert "'metadata' is a duplicate key" in twice[0]
    assert f"line {len(text.splitlines()) + 1}" in twice[0]
    name = "  name: phase2-dashboards-refresh\n"
    assert name in text
    (problem,) = problems(text.replace(name, "  name: Phase_2\n"), tmp_path)
    assert problem.startswith("metadata.name: ")
    (problem,) = problems(text.replace(name, f"  name: {'a' * 53}\n"), tmp_path)
    assert problem.startswith("metadata.name: ")
    share = '    maxNullShare: "10%"\n'
    assert share in text
    found = problems(text.replace(share, "    maxNullShare: 10\n"), tmp_path)
    assert found == ["spec.validation.maxNullShare: write a percentage like 10% or 2.5%, between 0% and 100%"]


def test_a_key_that_is_no_text_is_said_to_be_no_yaml(tmp_path: Path):
    """For example, in a template with unfilled placeholders."""
    assert "is not valid YAML" in problems("metadata: {name: {{ name }}}", tmp_path)[0]
    assert "is not valid YAML" in problems("? [a, b]\n: c", tmp_path)[0]


def test_two_refreshes_in_a_file_are_one_too_many(tmp_path: Path):
    """It would be unclear which one to run."""
    assert "holds 2 documents" in problems(SAMPLE.read_text() + "\n---\n" + SAMPLE.read_text(), tmp_path)[0]


def test_the_pods_run_request_is_read_from_its_environment():
    """It equals the run request of the file, except for fields that only a cluster sets."""
    run_request = run_request_from_file(SAMPLE)
    assert run_request_from_pod({RUN_REQUEST_ENV: run_request.model_dump_json(by_alias=True)}) == run_request


def test_a_pods_mode_must_name_a_step_of_the_refresh():
    """The operator checks it too, and may have another version; otherwise the run would end with an internal error."""
    run_request = run_request_from_file(SAMPLE).model_copy(update={"mode": "from=nowhere"})
    with pytest.raises(InvalidRunRequestError, match="mode: from=nowhere: no step is named 'nowhere'"):
        run_request_from_pod({RUN_REQUEST_ENV: run_request.model_dump_json(by_alias=True)})


def test_a_pod_without_a_run_request_says_what_to_do():
    """For example, if a user starts the image by hand."""
    with pytest.raises(InvalidRunRequestError, match="outside a pod, give a file"):
        run_request_from_pod({})


def bomb(levels: int, merge: bool = False) -> str:
    """Return YAML with nested aliases: a few lines that stand for a billion values."""
    first = "{k: v}" if merge else "[x, x, x, x, x, x, x, x, x]"
    lines = [f"a0: &a0 {first}"]
    for level in range(1, levels):
        each = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{each}], k{level}: 1}}" if merge else f"[{each}]"))
    return "\n".join(lines) + "\n"


HOSTILE = {
    "a bomb": (bomb(10), "expand to more than"),
    "a bomb of merges": (bomb(10, merge=True), "expand to more than"),
    "a bomb within a list": ("- " + bomb(10).replace("\n", "\n  "), "expand to more than"),
    "an alias within itself": ("a: &a [1, *a]\n", "contains it"),
    "a key within itself": ("a: &a {b: {c: *a}}\n", "contains it"),
    "lists": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    "objects": ("a: " + "{b: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "blocks": ("\n".join(" " * number + "a:" for number in range(600)), "nested too deeply"),
    "a tab": ("a:\n\tb: 1\n", "is not valid YAML"),
    "a key twice": ("a: 1\na: 2\n", "is a duplicate key"),
    "a number without end": ("a: " + "9" * 5000 + "\n", "is not valid YAML"),
    "a NUL": ("a: \0\n", "is not valid YAML"),
    "a tag": ("a: !!python/object/apply:os.system [id]\n", "is not valid YAML"),
    "no base64": ('a: !!binary "é"\n', "is not valid YAML"),
    "a list as a key": ("? [a, b]\n: c\n", "is not valid YAML"),
    "a long one": ("# " + "x" * 300_000, "longer than"),
    "nothing": ("", "0 documents"),
    "several": ("a: 1\n---\nb: 2\n", "2 documents"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_file_is_refused_at_once_in_one_line(which: str, tmp_path: Path):
    """Within two seconds of CPU time, whatever it expands to."""
    text, says = HOSTILE[which]
    begun = time.process_time()
    (problem,) = problems(text, tmp_path)
    assert (says in problem, "\n" in problem, len(problem) < 1000) == (True, False, True), problem
    assert time.process_time() - begun < 2


def test_aliases_are_written_out_as_long_as_that_is_not_much(tmp_path: Path):
    """Control: only excessive expansion is rejected, not aliases or merge keys."""
    text = SAMPLE.read_text()
    twice = text.replace("    - {name: staging,", "    - &one {name: staging,", 1)
    assert twice != text
    more = twice.replace("  tests:", "    - {<<: *one, name: again}\n  tests:", 1)
    file = tmp_path / "refresh.yaml"
    file.write_text(more)
    assert [layer.name for layer in run_request_from_file(file).spec.layers] == ["staging", "facts", "marts", "again"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[" * 40 + "]" * 40, "odd: nested too deeply: at most 32 levels"),
        (".inf", "odd: inf is not a number"),
        (".nan", "odd: nan is not a number"),
    ],
)
def test_a_variable_that_json_or_dbt_could_not_hold_is_named(value: str, says: str, tmp_path: Path):
    """Before dbt reads it. Control: 32 levels are accepted."""
    text = SAMPLE.read_text()
    at = "  dbt: {threads: 8}"
    assert at in text
    (problem,) = problems(text.replace(at, f"  dbt: {{threads: 8, vars: {{odd: {value}}}}}"), tmp_path)
    assert says in problem
    file = tmp_path / "fine.yaml"
    file.write_text(text.replace(at, f"  dbt: {{threads: 8, vars: {{odd: {'[' * 32 + ']' * 32}}}}}"))
    assert run_request_from_file(file)


def test_many_problems_are_not_all_told(tmp_path: Path):
    """Long names are shortened as well."""
    fields = ", ".join(f"f{number}{'x' * 1000}: 1" for number in range(200))
    found = problems(SAMPLE.read_text().replace("  dbt: {threads: 8}", f"  dbt: {{threads: 8, {fields}}}"), tmp_path)
    assert (len(found), found[-1]) == (51, "and 150 more")
    assert max(map(len, found)) < 200


UNREADABLE_ORDERS = (
    "{",
    "[]",
    "null",
    '{"spec": ' + "[" * 3000 + "]" * 3000 + "}",
    '{"refresh": {"name": "\\ud800"}, "spec": {}}',
    "9" * 5000,
    "NaN",
)


@pytest.mark.parametrize("text", UNREADABLE_ORDERS)
def test_a_pods_run_request_that_cannot_be_read_is_refused_with_words(text: str):
    """The message has a few lines at most."""
    with pytest.raises(InvalidRunRequestError) as caught:
        run_request_from_pod({RUN_REQUEST_ENV: text})
    assert all(len(str(problem)) < 1000 for problem in caught.value.problems)
