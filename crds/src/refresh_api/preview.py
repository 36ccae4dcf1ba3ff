"""A RefreshPreview: which change of which refresh to preview, and what it would do."""

import json
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator

from refresh_api.fields import SET, Image, ObjectName, Selector
from refresh_api.maps import StringMap
from refresh_api.model import Model, SpecModel, Time
from refresh_api.names import RUN_VARS_LENGTH
from refresh_api.preview_report import LEAST_SAMPLE, MOST_SAMPLE, Difference, PreviewReport
from refresh_api.project import REFS_GIVEN, GitRef
from refresh_api.run_request import run_vars
from refresh_api.status import CONDITION_LIST, Condition, Message
from refresh_api.values import Text, rule

DEFAULT_TTL: Final = 24 * 60 * 60
_LONGEST_TTL: Final = 30 * DEFAULT_TTL
_ONE_REF: Final = "name one of branch, tag, semver and commit"
_IMMUTABLE: Final = "the spec of a RefreshPreview cannot be changed: create another one"
_VARIABLES: Final = StringMap(
    Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write the name of a dbt variable: letters, digits and underscores", 128),
    Text(r"^[^\x00]*$", "write text without NUL", RUN_VARS_LENGTH, min_length=0),
)


class ChangeRef(GitRef):
    """The commit with the change."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [rule(f"{REFS_GIVEN} == 1", _ONE_REF)],
        }
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if not (self.branch or self.tag or self.semver or self.commit):
            raise ValueError(_ONE_REF)
        return self


class PreviewSpec(SpecModel):
    """What to preview."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [rule("self == oldSelf", _IMMUTABLE)]})

    refresh: ObjectName = Field(
        description="Name of the DashboardRefresh in the same namespace. Its spec.preview must allow previews, and its project must come "
        "from Git."
    )
    ref: ChangeRef = Field(
        description="The commit with the change, in the repository of the refresh. It is compared with the commit that is live."
    )
    variables: Annotated[dict[str, str], _VARIABLES] = Field(
        default_factory=dict,
        description="dbt variables, which override those of the refresh. A value is JSON if it can be parsed as JSON (5, true), "
        "otherwise a string. Defaults to none.",
    )
    image: Image | None = Field(
        default=None,
        description="Image of the runner that builds the change, for example with another version of dbt. runner.allowedImages of the "
        "operator's chart must allow it. With another image than that of the refresh, all models of the layers are built, since it may "
        "build any of them differently. The commits are fetched with the image of the refresh. Defaults to that image.",
    )
    select: list[Selector] = Field(
        default_factory=list,
        max_length=50,
        description="dbt selectors, which narrow the preview to those of the models that the change touches. Defaults to all of these.",
    )
    sample_rows: int | None = Field(
        default=None,
        ge=LEAST_SAMPLE,
        le=MOST_SAMPLE,
        description="Number of rows above which a mart is compared by a sample of about as many rows, chosen by a hash of the key. "
        "The report says so. Defaults to comparing all rows.",
    )
    allow: list[Difference] = Field(
        default_factory=list,
        max_length=len(Difference),
        json_schema_extra=SET,
        description="Kinds of differences that are expected: Added, Removed or Changed rows, Columns. Others are listed in "
        "status.unexpected. Defaults to none.",
    )
    ttl_seconds_after_finished: int = Field(
        default=DEFAULT_TTL,
        ge=0,
        le=_LONGEST_TTL,
        description="Seconds after which the operator deletes a finished preview. Defaults to 86400, a day.",
    )

    @property
    def vars(self) -> dict[str, JsonValue]:
        """The dbt variables with their values; ValueError for an `as_of` that is not a date, or if they are too long."""
        found = {name: _value(text) for name, text in self.variables.items()}
        return run_vars(json.dumps(found, ensure_ascii=False))


def _value(text: str) -> JsonValue:
    try:
        found: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found


class PreviewState(StrEnum):
    """The state of a preview."""

    PENDING = "Pending"
    """It waits; the message says for what."""
    RUNNING = "Running"
    """Its Job exists."""
    SAME = "Same"
    """No mart differs."""
    DIFFERS = "Differs"
    """A mart differs."""
    FAILED = "Failed"
    """There is no result; the message says why."""


ENDED: Final = frozenset({PreviewState.SAME, PreviewState.DIFFERS, PreviewState.FAILED})
"""States of finished previews."""


class PreviewReason(StrEnum):
    """Reasons of the conditions Complete and Failed of a preview, besides those of runs."""

    COMPARED = "Compared"
    """The marts were compared."""
    REFRESH_NOT_FOUND = "RefreshNotFound"
    """There is no DashboardRefresh of this name in the namespace, or its spec is invalid."""
    NOT_ENABLED = "NotEnabled"
    """The refresh has no `spec.preview`."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    """The Secret of `spec.preview` is used elsewhere in the refresh, or `secrets.policy` of the operator's chart does not allow it."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    """The Secret of `spec.preview`, or a key in it, is missing."""
    CODE_NOT_ALLOWED = "CodeNotAllowed"
    """The operator's chart does not allow the image or the repository of the refresh, or the image of the preview."""
    NOTHING_LIVE = "NothingLive"
    """It is not known which commit is live: no run has published one, or the last publish was a rollback."""
    INVALID_PREVIEW = "InvalidPreview"
    """The spec is invalid, it selects none of the models that the change touches, or Kubernetes rejects an object made from it."""


class PreviewStatus(Model):
    """The state of a preview, and what it found. The operator writes it until the preview's pod reports."""

    state: PreviewState | None = Field(default=None, description="Pending, Running, Same, Differs or Failed.")
    message: Message | None = Field(default=None, description="What it does, what it waits for, what differs, or why it failed.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=4,
        json_schema_extra=CONDITION_LIST,
        description="Complete is True once the marts are compared, Failed once it is known that they will not be.",
    )
    job: str | None = Field(default=None, max_length=63, description="Name of its Job.")
    start_time: Time | None = Field(default=None, description="When its Job was created.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    base_revision: str | None = Field(default=None, max_length=320, description="Revision of the project that is live.")
    revision: str | None = Field(default=None, max_length=320, description="Revision with the change, for example fix@sha1:6e27e9a9….")
    short_revision: str | None = Field(default=None, max_length=320, description="The same in short form.")
    differences: list[Difference] = Field(
        default_factory=list, max_length=len(Difference), description="Kinds of differences that readers would see."
    )
    unexpected: list[Difference] = Field(
        default_factory=list, max_length=len(Difference), description="Those of them that spec.allow does not name."
    )
    summary: Message | None = Field(default=None, description="The marts that differ, with their counts.")
    report: PreviewReport | None = Field(default=None, description="What differs, in figures and without rows.")

    @property
    def has_ended(self) -> bool:
        """Whether the preview has finished."""
        return self.state in ENDED


class PreviewEnd(Model):
    """The termination message of a preview's pod, in case the status was not written."""

    state: PreviewState
    reason: str
    message: Annotated[str, StringConstraints(max_length=1000)] = ""
