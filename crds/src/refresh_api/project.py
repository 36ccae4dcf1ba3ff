"""Where a refresh's dbt project comes from, if it is not in the runner's image."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import SecretRef
from refresh_api.model import SpecModel
from refresh_api.values import BLANKS, Duration, Text, rule

_HOST: Final = r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
_SEGMENT: Final = r"([A-Za-z0-9_~+-]|%20)([A-Za-z0-9._~+@-]|%20)*"
"""A segment of a URL's path. It cannot begin with a dot, so that a pattern for a folder does not match addresses outside of it."""
URL_PATTERN: Final = rf"^(https://|ssh://([A-Za-z0-9_][A-Za-z0-9._-]*@)?){_HOST}(/{_SEGMENT})+/?$"
"""An address that every program reads as its parts are compared with patterns: without a password, a query or a folder `..`."""
GitUrl = Annotated[
    str,
    Text(
        URL_PATTERN,
        "write https://HOST/PATH or ssh://USER@HOST/PATH, without a password, which belongs in secretRef",
        512,
    ),
]
RefName = Annotated[
    str, Text(rf"^[^-/.{BLANKS}~^:?*\[\\][^{BLANKS}~^:?*\[\\]*$", "write the name of a branch or tag, like main or release/2", 244)
]
CommitHash = Annotated[str, Text(r"^[0-9a-f]{40}([0-9a-f]{24})?$", "write the full hash of a commit: 40 hexadecimal digits", 64)]
ProjectPath = Annotated[
    str,
    Text(
        rf"^([^./{BLANKS}\\][^/{BLANKS}\\]*|\.)(/[^./{BLANKS}\\][^/{BLANKS}\\]*)*$",
        "write a folder inside the repository, like dbt or warehouse/dbt",
        255,
    ),
]
DEFAULT_FETCH_TIMEOUT: Final = "2m"
_SHORT: Final = 8
"""Digits of a shortened commit hash."""
_ONE_REF: Final = "name at most one of branch, tag and commit"


class Packages(StrEnum):
    """Where the packages of a project come from."""

    NONE = "None"
    LOCKED = "Locked"


class GitRef(SpecModel):
    """Which commit of a repository."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [rule("[has(self.branch), has(self.tag), has(self.commit)].filter(x, x).size() <= 1", _ONE_REF)]
        }
    )

    branch: RefName | None = Field(default=None, description="The newest commit of this branch.")
    tag: RefName | None = Field(default=None, description="The commit of this tag.")
    commit: CommitHash | None = Field(default=None, description="This commit, by its full hash.")

    @property
    def label(self) -> str:
        """The ref as shown in messages: `branch main`, `tag v1`, `commit 1a2b…` or `the default branch`."""
        if self.branch:
            return f"branch {self.branch}"
        if self.tag:
            return f"tag {self.tag}"
        return f"commit {self.commit}" if self.commit else "the default branch"

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if sum(each is not None for each in (self.branch, self.tag, self.commit)) > 1:
            raise ValueError(_ONE_REF)
        return self


class Git(SpecModel):
    """A Git repository."""

    url: GitUrl = Field(
        description="Address of the repository: https://HOST/PATH or ssh://USER@HOST/PATH. "
        "projects.allowedUrls of the operator's chart must allow it."
    )
    ref: GitRef = Field(
        default=GitRef(),
        description="Which commit each run uses. It is resolved when the run starts, and later attempts of the run use the same one. "
        "Defaults to the newest commit of the repository's default branch.",
    )
    path: ProjectPath = Field(
        default=".", description="Folder of the dbt project in the repository. Defaults to the root of the repository."
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the credentials. Keys for https: username and password (or a token), bearerToken, ca.crt. "
        "Keys for ssh: identity (a private key) and known_hosts. Defaults to none.",
    )
    packages: Packages = Field(
        default=Packages.NONE,
        description="Where the dbt packages of the project come from. None: they are in the repository, or there are none. "
        "Locked: those in package-lock.yml are downloaded, from addresses that projects.allowedUrls of the operator's chart allows. "
        "Defaults to None.",
    )
    timeout: Duration = Field(
        default=DEFAULT_FETCH_TIMEOUT,
        description=f"Maximum time to fetch the project and its packages. Defaults to {DEFAULT_FETCH_TIMEOUT}.",
    )


class Fallback(StrEnum):
    """What a run does while its project cannot be fetched."""

    FAIL = "Fail"
    LAST_GOOD = "LastGood"


class Project(SpecModel):
    """Where the dbt project comes from."""

    git: Git = Field(description="A folder of a Git repository.")
    fallback: Fallback = Field(
        default=Fallback.FAIL,
        description="What a run does if the project cannot be fetched. Fail: fails, and is retried after a transient error. "
        "LastGood: uses the revision of the last successful run, which is kept in the warehouse, and ends as Warned. Defaults to Fail.",
    )


def short_revision(revision: str) -> str:
    """Return the short form of a revision: `main@6e27e9a9` for `main@sha1:6e27e9a9…`. Any other text is returned unchanged."""
    named, _, commit = revision.rpartition(":")
    name, _, algorithm = named.rpartition("@")
    if algorithm not in ("sha1", "sha256"):
        return revision
    return f"{name}@{commit[:_SHORT]}" if name else commit[:_SHORT]
