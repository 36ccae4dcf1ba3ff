"""The dbt project of a refresh in a Git repository."""

import pytest

from refresh_api.project import GitRef, short_revision
from refresh_api.spec import RefreshSpec
from support.snapshots import sample_spec

HASH = "6e27e9a9" * 5
GIT = {"url": "https://git.example.org/data/velos"}


@pytest.mark.parametrize(
    ("revision", "short"),
    [
        (f"main@sha1:{HASH}", "main@6e27e9a9"),
        (f"release/2@x@sha1:{HASH}", "release/2@x@6e27e9a9"),
        (f"HEAD@sha256:{'a' * 64}", "HEAD@aaaaaaaa"),
        (f"sha1:{HASH}", "6e27e9a9"),
        ("", ""),
        ("main", "main"),
        ("main@md5:1234567890", "main@md5:1234567890"),
    ],
)
def test_a_revision_is_short_for_people(revision, short):
    """A revision in an unknown form, for example of another version, is shown unchanged."""
    assert short_revision(revision) == short


@pytest.mark.parametrize(
    ("ref", "label"),
    [
        ({}, "the default branch"),
        ({"branch": "main"}, "branch main"),
        ({"tag": "v1"}, "tag v1"),
        ({"commit": HASH}, f"commit {HASH}"),
    ],
)
def test_a_ref_is_named_as_people_name_it(ref, label):
    """It appears in messages about a failed fetch."""
    assert GitRef.model_validate(ref).label == label


def test_the_run_reads_every_secret_but_that_of_the_repository():
    """If it uses the same Secret for something else, it reads only those keys."""

    def keys(secret, **changes):
        spec = RefreshSpec.model_validate(sample_spec(project={"git": {**GIT, "secretRef": {"name": secret}}}, **changes))
        return spec.secret_keys, spec.run_secret_keys

    slack = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "shared", "key": "url"}}}
    whole, of_run = keys("repository")
    assert (whole["repository"], "repository" in of_run) == (None, False)
    whole, of_run = keys("shared", notifications=[slack])
    assert (whole["shared"], of_run["shared"]) == (None, {"url"})


def test_a_spec_without_credentials_names_no_secret():
    """A public repository needs none."""
    spec = RefreshSpec.model_validate(sample_spec(project={"git": GIT}))
    assert (spec.project_secret, spec.secret_keys) == (None, spec.run_secret_keys)
    assert RefreshSpec.model_validate(sample_spec()).project_secret is None
