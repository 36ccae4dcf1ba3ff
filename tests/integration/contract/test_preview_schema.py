"""API server and models accept the same RefreshPreviews."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from refresh_api.names import API_VERSION, PREVIEW_KIND, PREVIEW_PLURAL
from refresh_api.preview import PreviewSpec
from support.apiserver import ApiServer

FULL = {
    "refresh": "main",
    "ref": {"branch": "fix/tranche"},
    "variables": {"as_of": "2026-01-31", "deep": '{"a": [1]}'},
    "image": "registry.example.org/team/runner:2@sha256:" + "0123abcd" * 8,
    "select": ["+mart_a", "tag:finance,state:modified", "path:models/marts"],
    "sampleRows": 1000000,
    "allow": ["Added", "Columns"],
    "ttlSecondsAfterFinished": 3600,
}


@pytest.fixture(scope="module")
def doors(contract: object, api: ApiServer) -> ApiServer:
    """An API server with the CRDs."""
    assert contract
    return api


def verdicts(doors: ApiServer, spec: dict[str, Any], name: str = "a") -> tuple[str, str]:
    """Return the errors of the API server and of the models; empty where the spec is accepted."""
    body = {"apiVersion": API_VERSION, "kind": PREVIEW_KIND, "metadata": {"name": name}, "spec": spec}
    taken, answer = doors.dry_run_create("default", PREVIEW_PLURAL, body)
    try:
        read = PreviewSpec.model_validate(spec)
    except ValidationError as error:
        return "" if taken else str(answer["message"]), str(error)
    if taken:
        assert PreviewSpec.model_validate(answer["spec"]) == read
    return "" if taken else str(answer["message"]), ""


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ref": {"tag": "v1"}},
        {"ref": {"semver": "^1.2"}},
        {"ref": {"commit": "a" * 40}},
        {"variables": None, "image": None, "select": None, "sampleRows": None, "allow": None, "ttlSecondsAfterFinished": 0},
    ],
    ids=["the full spec", "a tag", "a range of versions", "a commit", "nulls"],
)
def test_both_take_it(doors: ApiServer, change: dict[str, Any]):
    """Control of the rejections."""
    assert verdicts(doors, {**FULL, **change}) == ("", "")


REFUSED = {
    "no ref": ({"ref": {}}, "name one of branch, tag, semver and commit"),
    "two refs": ({"ref": {"branch": "a", "tag": "b"}}, "name one of branch, tag, semver and commit"),
    "another repository": ({"ref": {"branch": "a", "url": "https://evil.example/x"}}, "url"),
    "an option for git": ({"ref": {"branch": "--upload-pack=x"}}, "write the name of a branch or tag"),
    "no refresh": ({"refresh": None}, "refresh"),
    "a name of no refresh": ({"refresh": "A b"}, "name of an object"),
    "an option for dbt": ({"variables": {"--x": "1"}}, "the name of a dbt variable"),
    "a variable that is not a text": ({"variables": {"n": 5}}, "string"),
    "33 variables": ({"variables": {f"v{number}": "x" for number in range(33)}}, "32"),
    "no image": ({"image": "Not an image"}, "write an image"),
    "an option of dbt": ({"select": ["--full-refresh"]}, "write one dbt selector"),
    "two selectors in one": ({"select": ["mart_a mart_b"]}, "write one dbt selector"),
    "51 selectors": ({"select": [f"m{number}" for number in range(51)]}, "50"),
    "a sample too small to tell anything": ({"sampleRows": 999}, "1000"),
    "an unknown difference": ({"allow": ["Everything"]}, "Added"),
    "a difference twice": ({"allow": ["Added", "Added"]}, "Added"),
    "a time in the past": ({"ttlSecondsAfterFinished": -1}, "0"),
    "a time without end": ({"ttlSecondsAfterFinished": 10**8}, "2592000"),
    "another login": ({"warehouse": {"secretRef": {"name": "warehouse"}}}, "warehouse"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse_it_in_words(doors: ApiServer, change: dict[str, Any], says: str):
    """Both name the field or say what to write."""
    server, models = verdicts(doors, {**FULL, **change})
    assert server
    assert models
    assert says in server or says in models


def test_a_name_is_short_enough_for_the_names_of_its_objects(doors: ApiServer):
    """A Job's name adds nine characters, and Kubernetes allows 63."""
    assert verdicts(doors, FULL, "a" * 52) == ("", "")
    assert "at most 52 characters" in verdicts(doors, FULL, "a" * 53)[0]
