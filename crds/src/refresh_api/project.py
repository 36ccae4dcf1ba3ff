"""Where a refresh's dbt project comes from, if it is not in the runner's image."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import ObjectName, SecretRef
from refresh_api.model import SpecModel
from refresh_api.values import BLANKS, Duration, Text, duration, number_set, rule

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
_PART: Final = r"([0-9]{1,18}|[xX*])"
_PRERELEASE: Final = r"-[0-9A-Za-z-]{1,64}(\.[0-9A-Za-z-]{1,64}){0,8}"
_VERSION: Final = rf"v?{_PART}(\.{_PART}(\.([xX*]|[0-9]{{1,18}}({_PRERELEASE})?))?)?"
_COMPARATOR: Final = rf"(!?=|[<>]=?|[~^])? ?{_VERSION}"
_ALTERNATIVE: Final = rf"({_VERSION} - {_VERSION}|{_COMPARATOR}((, ?| ){_COMPARATOR})*)"
VersionRange = Annotated[
    str,
    Text(
        rf"^{_ALTERNATIVE}( ?\|\| ?{_ALTERNATIVE})*$",
        "write a range of versions, like >=1.2 <2, ^1.2, ~1.2.3, 1.x, 1.2 - 1.4 or >=2.0.0-0",
        128,
    ),
]
ProjectPath = Annotated[
    str,
    Text(
        rf"^([^./{BLANKS}\\][^/{BLANKS}\\]*|\.)(/[^./{BLANKS}\\][^/{BLANKS}\\]*)*$",
        "write a folder inside the repository, like dbt or warehouse/dbt",
        255,
    ),
]
DEFAULT_FETCH_TIMEOUT: Final = "2m"
DEFAULT_INTERVAL: Final = "5m"
_SHORTEST_INTERVAL: Final = "10s"
_INTERVAL: Final = f"interval: must be at least {_SHORTEST_INTERVAL}"
_NEVER_CHANGES: Final = "onProjectChange Run requires a branch, tag or range of versions in git.ref, since a commit never changes"
_ONE_ORIGIN: Final = "set either git or sourceRef"
_SHORT: Final = 8
"""Digits of a shortened commit hash."""
_REFS: Final = ("branch", "tag", "semver", "commit")
REFS_GIVEN: Final = number_set(*_REFS)
"""CEL expression: how many of the fields of a ref are set."""
_ONE_REF: Final = "name at most one of branch, tag, semver and commit"


class Packages(StrEnum):
    """Where the packages of a project come from."""

    NONE = "None"
    LOCKED = "Locked"


class GitRef(SpecModel):
    """Which commit of a repository."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [rule(f"{REFS_GIVEN} <= 1", _ONE_REF)],
        }
    )

    branch: RefName | None = Field(default=None, description="The newest commit of this branch.")
    tag: RefName | None = Field(default=None, description="The commit of this tag.")
    semver: VersionRange | None = Field(
        default=None,
        description="The commit of the tag with the highest version in this range, such as >=1.2 <2. Tags with versions are written "
        "v1.2.3 or 1.2.3. Prereleases count only if the range names one, such as >=1.2.0-0.",
    )
    commit: CommitHash | None = Field(default=None, description="This commit, by its full hash.")

    @property
    def label(self) -> str:
        """The ref as shown in messages: `branch main`, `tag v1`, `semver ^1.2`, `commit 1a2b…` or `the default branch`."""
        if self.branch:
            return f"branch {self.branch}"
        if self.tag:
            return f"tag {self.tag}"
        if self.semver:
            return f"semver {self.semver}"
        return f"commit {self.commit}" if self.commit else "the default branch"

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if sum(getattr(self, each) is not None for each in _REFS) > 1:
            raise ValueError(_ONE_REF)
        return self


class Origin(SpecModel):
    """Where a project is fetched from."""

    field: ClassVar[str] = "spec.project.git"
    """The field with it, for messages."""
    path: ProjectPath = Field(default=".", description="Folder of the dbt project in it. Defaults to its top folder.")
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


class Git(Origin):
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
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the credentials. Keys for https: username and password (or a token), bearerToken, ca.crt. "
        "Keys for ssh: identity (a private key) and known_hosts. Defaults to none.",
    )


SOURCES_GROUP: Final = "source.toolkit.fluxcd.io"
"""API group of the sources of Flux; version v1."""


class SourceKind(StrEnum):
    """A kind of source of Flux."""

    GIT_REPOSITORY = "GitRepository"
    OCI_REPOSITORY = "OCIRepository"
    BUCKET = "Bucket"

    @property
    def plural(self) -> str:
        """The name in paths of the API."""
        return "ocirepositories" if self is SourceKind.OCI_REPOSITORY else "buckets" if self is SourceKind.BUCKET else "gitrepositories"


class SourceRef(Origin):
    """A source of Flux."""

    field: ClassVar[str] = "spec.project.sourceRef"
    secret_ref: ClassVar[None] = None
    """Flux has the credentials."""
    kind: SourceKind = Field(description="GitRepository, OCIRepository or Bucket, of the API source.toolkit.fluxcd.io/v1.")
    name: ObjectName = Field(
        description="Name of the source, in the namespace of the refresh. projects.allowedSources of the operator's chart must allow it."
    )

    @property
    def url(self) -> str:
        """What names the source, as the address names a repository: `GitRepository/warehouse`."""
        return f"{self.kind}/{self.name}"


class OnProjectChange(StrEnum):
    """What follows a new commit of a project."""

    IGNORE = "Ignore"
    RUN = "Run"


class Fallback(StrEnum):
    """What a run does while its project cannot be fetched."""

    FAIL = "Fail"
    LAST_GOOD = "LastGood"


class Project(SpecModel):
    """Where the dbt project comes from."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("has(self.git) != has(self.sourceRef)", _ONE_ORIGIN),
                rule(
                    "!has(self.onProjectChange) || self.onProjectChange != 'Run' || !has(self.git) || !has(self.git.ref) "
                    "|| !has(self.git.ref.commit)",
                    _NEVER_CHANGES,
                ),
                rule(f"!has(self.interval) || duration(self.interval) >= duration('{_SHORTEST_INTERVAL}')", _INTERVAL),
            ]
        }
    )

    git: Git | None = Field(default=None, description="A folder of a Git repository, fetched by the run. Either this or sourceRef.")
    source_ref: SourceRef | None = Field(default=None, description="A source of Flux, whose artifact the run fetches. Either this or git.")
    fallback: Fallback = Field(
        default=Fallback.FAIL,
        description="What a run does if the project cannot be fetched. Fail: fails, and is retried after a transient error. "
        "LastGood: uses the revision of the last successful run, which is kept in the warehouse, and ends as Warned. Defaults to Fail.",
    )
    on_project_change: OnProjectChange = Field(
        default=OnProjectChange.IGNORE,
        description="What follows a new commit of git.ref, or a new artifact of sourceRef. Ignore: the next run uses it. Run: a run is "
        "requested as soon as a check finds it, once for each commit, unless runs are suspended; see status.projectCheck. "
        "Defaults to Ignore.",
    )
    interval: Duration = Field(
        default=DEFAULT_INTERVAL,
        description="Time between two checks for a new commit, with onProjectChange Run. For git, each is a Job that runs "
        f"`git ls-remote`. At least {_SHORTEST_INTERVAL}. Defaults to {DEFAULT_INTERVAL}.",
    )

    @model_validator(mode="after")
    def _checks_are_possible(self) -> Self:
        if (self.git is None) == (self.source_ref is None):
            raise ValueError(_ONE_ORIGIN)
        if self.on_project_change is OnProjectChange.RUN and self.git and self.git.ref.commit:
            raise ValueError(_NEVER_CHANGES)
        if duration(self.interval) < duration(_SHORTEST_INTERVAL):
            raise ValueError(_INTERVAL)
        return self

    @property
    def origin(self) -> Git | SourceRef:
        """The one of both that is set."""
        found = self.git or self.source_ref
        if found is None:
            raise ValueError(_ONE_ORIGIN)
        return found


def short_revision(revision: str) -> str:
    """Return the short form of a revision: `main@6e27e9a9` for `main@sha1:6e27e9a9…`. Any other text is returned unchanged."""
    named, _, commit = revision.rpartition(":")
    name, _, algorithm = named.rpartition("@")
    if algorithm not in ("sha1", "sha256"):
        return revision
    return f"{name}@{commit[:_SHORT]}" if name else commit[:_SHORT]
