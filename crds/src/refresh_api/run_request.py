"""The run request of one pod (the spec as it was when the Job was created, the mode, the variables) and the runner's exit codes."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from refresh_api import cron
from refresh_api.fields import ObjectName, Selector
from refresh_api.freeform import bounded
from refresh_api.model import Model, SpecModel
from refresh_api.names import API_VERSION, KIND, NAME_MAX_LENGTH, RUN_REQUEST_LENGTH, RUN_VARS_LENGTH
from refresh_api.spec import RefreshSpec


class RefreshRef(Model):
    """The name, namespace and uid of a refresh; it has no uid outside a cluster."""

    name: str
    namespace: str = "default"
    uid: str | None = None


class ModeKind(StrEnum):
    """The kind of a mode."""

    REFRESH = "refresh"
    """All steps, as scheduled runs do."""
    FULL_REFRESH = "full-refresh"
    """All steps; incremental models are rebuilt in full."""
    FROM = "from"
    """The named step and all later ones."""
    ONLY = "only"
    """The named step only."""
    ROLLBACK = "rollback"
    """Publish the previous data again, and hold publishing until a run with mode resume."""
    RESUME = "resume"
    """All steps; resumes publishing after a rollback."""
    SELECT = "select"
    """All steps, but only those models of the layers that the dbt selectors select."""
    NOTIFY = "notify"
    """No step: sends a test message through each channel of notifications."""


PARTIAL: Final = frozenset({ModeKind.ONLY, ModeKind.ROLLBACK, ModeKind.SELECT, ModeKind.NOTIFY})
"""Modes whose runs do not make the data newer, because they do only a part of a run or publish old data."""
_TAKES: Final = {ModeKind.FROM: "STEP", ModeKind.ONLY: "STEP", ModeKind.SELECT: "SELECTOR"}
_SELECTORS_LENGTH: Final = 200


@dataclass(frozen=True)
class RunMode:
    """A mode: its kind, and the step or the selectors that some kinds take."""

    kind: ModeKind
    of: str = ""
    """The step, or the dbt selectors, separated by spaces; empty for other kinds."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mode of a text such as `full-refresh`, `from=marts` or `select=tag:x`; ValueError if it is invalid."""
        kind, equals, of = text.partition("=")
        if kind not in list(ModeKind) or bool(of.strip()) != (kind in _TAKES) or (equals and not of):
            known = ", ".join(f"{each}={_TAKES[each]}" if each in _TAKES else each for each in ModeKind)
            raise ValueError(f"{text!r} is not a run mode: write one of {known}")
        if kind == ModeKind.SELECT:
            of = _selectors(of)
        return cls(ModeKind(kind), of)

    def check(self, steps: Sequence[str]) -> None:
        """Raise ValueError if the refresh has no such step."""
        if _TAKES.get(self.kind) == "STEP" and self.of not in steps:
            raise ValueError(f"{self}: no step is named {self.of!r}; the steps are {', '.join(steps)}")

    def __str__(self) -> str:
        """Return the mode as users write it."""
        return f"{self.kind}={self.of}" if self.of else self.kind.value


def _selectors(text: str) -> str:
    if len(text) > _SELECTORS_LENGTH:
        raise ValueError(f"select=…: write at most {_SELECTORS_LENGTH} characters of selectors")
    return " ".join(selectors_in([text], f"select={text}"))


def selectors_in(texts: Iterable[str], where: str) -> list[str]:
    """Return the dbt selectors in texts that separate them by spaces; ValueError for an invalid one, which says `where` it is."""
    for word in (words := [word for text in texts for word in text.split()]):
        try:
            TypeAdapter(Selector).validate_python(word)
        except ValidationError as error:
            says = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{where}: {word!r}: {says}") from None
    return words


def run_vars(text: str) -> dict[str, JsonValue]:
    """Return the dbt variables of one run from a JSON object; ValueError if they are invalid."""
    if len(text) > RUN_VARS_LENGTH:
        raise ValueError(f"runVars: write at most {RUN_VARS_LENGTH} characters")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'runVars: write a JSON object, like {{"as_of": "2026-01-31"}}: {error}') from None
    try:
        bounded(found)
    except ValueError as error:
        raise ValueError(f"runVars: {error}") from None
    if not isinstance(found, dict):
        raise ValueError('runVars: write a JSON object, like {"as_of": "2026-01-31"}')
    return checked_vars(found)


def checked_vars(found: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the variables unchanged; ValueError for a name that dbt does not accept, or an `as_of` that is not a date."""
    for name in found:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"runVars: {name!r} is not a variable name: write letters, digits and underscores")
    if "as_of" in found:
        try:
            date.fromisoformat(str(found["as_of"]))
        except ValueError:
            raise ValueError(f"runVars: as_of must be a date, written YYYY-MM-DD, not {found['as_of']!r}") from None
    return found


def vars_text(words: Sequence[str]) -> str | None:
    """Return the NAME=VALUE arguments of a command line as the text of runVars, or None without arguments; ValueError if one is invalid.

    A value is JSON if it can be parsed as JSON (5, true, ["a"]), otherwise a string (2026-01-31).
    """
    found: dict[str, JsonValue] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r}: write NAME=VALUE")
        try:
            found[name] = json.loads(value, parse_constant=_no_number)
        except RecursionError:
            raise ValueError(f"{name}: nested too deeply") from None
        except ValueError:
            found[name] = value
    if not found:
        return None
    text = json.dumps(found, ensure_ascii=False)
    run_vars(text)
    return text


def _no_number(name: str) -> JsonValue:
    raise ValueError(f"{name} is not valid JSON")


def _checked_mode(text: str) -> str:
    return str(RunMode.parse(text))


class PreviewRequest(Model):
    """Which RefreshPreview a pod reports to, what it builds, and what it may differ in."""

    name: str
    uid: str
    allow: list[str] = Field(default_factory=list)
    select: list[str] = Field(default_factory=list)
    """dbt selectors that narrow what is built; empty for all that the change touches."""
    all_models: bool = False
    """Whether the change touches every model, since another image than that of the refresh builds them."""
    sample_rows: int | None = None
    """Rows of a mart above which a sample is compared; None to compare all."""


class RunRequest(Model):
    """One refresh to run or to preview, pinned to a generation of its spec."""

    refresh: RefreshRef
    generation: int = 0
    spec: RefreshSpec
    mode: Annotated[str, AfterValidator(_checked_mode)] = ModeKind.REFRESH.value
    vars: Annotated[dict[str, JsonValue], AfterValidator(checked_vars)] = Field(default_factory=dict)
    """dbt variables of this run only; they override those of the spec."""
    preview: PreviewRequest | None = None
    """Set in the pods of a preview, which build nothing that readers see. The spec is then the preview's."""

    @property
    def display_name(self) -> str:
        """Name of the refresh in the notes of dbt_refresh_log."""
        return self.spec.display_name or self.refresh.name

    @property
    def schedule(self) -> str:
        """The schedule as Kubernetes gets it, with numbers in place of H."""
        return cron.resolve(self.spec.schedule, f"{self.refresh.namespace}/{self.refresh.name}")

    @property
    def text(self) -> str:
        """The run request as JSON, as a pod receives it."""
        return self.model_dump_json(by_alias=True)

    @property
    def size_error(self) -> str:
        """Error message if the text is too long for a pod's environment; otherwise empty."""
        length = len(self.text.encode())
        if length <= RUN_REQUEST_LENGTH:
            return ""
        parts = {name: len(json.dumps(value)) for name, value in self.spec.model_dump(mode="json", by_alias=True).items()}
        largest = max(parts, key=lambda name: parts[name])
        limit = f"the run request would be {length} bytes long; Linux allows at most {RUN_REQUEST_LENGTH} in one environment variable"
        return f"{limit}: shorten spec.{largest}, the longest part"


class Metadata(Model):
    """The part of a manifest's metadata that a runner without a cluster reads; the rest is for the cluster."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[ObjectName, Field(max_length=NAME_MAX_LENGTH)]
    namespace: str = "default"


class Manifest(SpecModel):
    """A DashboardRefresh in a file."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: RefreshSpec

    @model_validator(mode="after")
    def _is_a_refresh(self) -> Self:
        if (self.api_version, self.kind) != (API_VERSION, KIND):
            raise ValueError(f"this is a {self.api_version} {self.kind}; expected {API_VERSION} {KIND}")
        return self

    def run_request(self) -> RunRequest:
        """Return the run request of this file, for a run without a cluster."""
        return RunRequest(refresh=RefreshRef(name=self.metadata.name, namespace=self.metadata.namespace), spec=self.spec)


class ExitCode(IntEnum):
    """A runner's exit codes, a contract with the Job's podFailurePolicy."""

    OK = 0
    """Succeeded, warned or skipped."""
    FAILED = 1
    """Failed; not retried, since another attempt would not help, or no attempts are left."""
    USAGE = 2
    """The command line or the run request is invalid; not retried."""
    RETRY = 75
    """Failed with a transient error; another attempt follows (sysexits.h: EX_TEMPFAIL)."""
    INTERRUPTED = 143
    """Interrupted by SIGTERM; does not count as a retry."""
