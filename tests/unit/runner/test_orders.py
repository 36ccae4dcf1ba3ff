"""What a person wrote into a file, or the operator into a pod, and what is wrong with it."""

from pathlib import Path

import pytest

from refresh_api.names import ORDER_ENV
from refresh_runner.orders import InvalidOrderError, order_of_file, order_of_pod

SAMPLE = Path(__file__).parents[3] / "deploy" / "samples" / "phase2.yaml"


def problems(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "refresh.yaml"
    file.write_text(text)
    with pytest.raises(InvalidOrderError) as caught:
        order_of_file(file)
    return [str(problem) for problem in caught.value.problems]


def test_every_problem_is_named_with_its_field(tmp_path: Path):
    """All at once, so that nobody corrects them one by one."""
    found = problems(
        "apiVersion: dashboards.sigeti.io/v1alpha1\nkind: DashboardRefresh\nmetadata: {name: x}\n"
        'spec: {schedule: "61 * * * *", timeZone: Mars/Base, warehouse: {secretRef: {}}, foo: 1,'
        " layers: [{name: a, select: [x], timeout: soon}]}\n",
        tmp_path,
    )
    assert found == [
        "spec.schedule: minute: '61' is not between 0 and 59",
        "spec.timeZone: there is no time zone 'Mars/Base'; write an IANA name like Europe/Paris",
        "spec.warehouse.secretRef.name: is missing",
        "spec.layers[0].timeout: write a duration like 90s, 15m or 1h30m, between 1s and 168h",
        "spec.foo: unknown field",
    ]


def test_what_is_no_yaml_is_said_to_be_none(tmp_path: Path):
    """With the line."""
    (problem,) = problems("a: [b", tmp_path)
    assert "is no YAML" in problem
    assert "line" in problem


def test_what_yaml_reads_otherwise_than_it_was_meant_is_refused(tmp_path: Path):
    """A key that is there twice, a number where a text belongs, a name that Kubernetes would not take."""
    text = SAMPLE.read_text()
    twice = problems(text + "metadata: {name: other}\n", tmp_path)
    assert "'metadata' is there twice" in twice[0]
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
    """As in a template that nobody has filled in."""
    assert "is no YAML" in problems("metadata: {name: {{ name }}}", tmp_path)[0]
    assert "is no YAML" in problems("? [a, b]\n: c", tmp_path)[0]


def test_two_refreshes_in_a_file_are_one_too_many(tmp_path: Path):
    """Which one to run would be a guess."""
    assert "holds 2 documents" in problems(SAMPLE.read_text() + "\n---\n" + SAMPLE.read_text(), tmp_path)[0]


def test_the_pods_order_is_read_from_its_environment():
    """The same order as the file's, but for what only a cluster knows."""
    order = order_of_file(SAMPLE)
    assert order_of_pod({ORDER_ENV: order.model_dump_json(by_alias=True)}) == order


def test_a_pod_without_an_order_says_what_to_do():
    """Somebody started the image by hand."""
    with pytest.raises(InvalidOrderError, match="outside a pod, name a file"):
        order_of_pod({})
