"""A DashboardRefresh as the operator sees it: its spec or the error in it, its annotations and its status; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from refresh_api import renamed
from refresh_api.names import CANCEL, REQUESTED_AT, RESET_AT, RUN_MODE, RUN_VARS, TOKEN_LENGTH
from refresh_api.objects import Json, unreadable
from refresh_api.reasons import ReadyReason
from refresh_api.run_request import ModeKind, RefreshRef, RunRequest, run_vars
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, Run, RunnerStatus
from refresh_operator.names import Ref
from refresh_operator.state.kube_types import Metadata, field_path, mapping

_NO_TIME: Final = "1970-01-01T00:00:00Z"
_SHORT_SPEC: Final = 2**16
"""A spec of at most this many bytes always results in a run request that fits into a pod, whatever the defaults add."""
_SPEC_REASONS: Final = {"schedule": ReadyReason.INVALID_SCHEDULE, "timeZone": ReadyReason.INVALID_TIME_ZONE}
SHORTENED_LENGTH: Final = 32
"""How many leading characters of an annotation that is too long are kept, so that users can recognise it."""


@dataclass(frozen=True)
class InvalidSpec:
    """Why a spec that passed the API server's schema is invalid, and which field causes it."""

    reason: str
    path: str
    message: str


@dataclass(frozen=True)
class RunParameters:
    """The mode and variables of a requested run, as users wrote them."""

    mode: str | None = None
    vars: str | None = None

    @property
    def annotations(self) -> dict[str, str]:
        """The parameters as annotations of a Job."""
        return {name: value for name, value in ((RUN_MODE, self.mode), (RUN_VARS, self.vars)) if value}


NO_PARAMETERS: Final = RunParameters()


def parameters_of(annotations: Mapping[str, str]) -> RunParameters:
    """Return the run parameters from the annotations of a refresh or of a Job."""
    return RunParameters(annotations.get(RUN_MODE) or None, annotations.get(RUN_VARS) or None)


def shortened(text: str | None) -> str | None:
    """Return an annotation as the status records it: unchanged, or its start and a hash if it is too long."""
    if text is None or len(text) <= TOKEN_LENGTH:
        return text
    return f"{text[:SHORTENED_LENGTH]}… ({len(text)} characters, SHA-256 {sha256(text.encode(errors='replace')).hexdigest()})"


@dataclass(frozen=True)
class Refresh:
    """A DashboardRefresh. Its status has two writers: the operator (`status`) and the runner (`run`)."""

    metadata: Metadata
    spec: RefreshSpec | InvalidSpec
    status: OperatorStatus
    run: Run | None
    unknown_fields: tuple[str, ...] = ()
    """Fields of the spec that the installed CRD has, but this operator version does not support."""

    @property
    def ref(self) -> Ref:
        """The namespace and name."""
        return Ref(self.metadata.namespace, self.metadata.name)

    @property
    def requested(self) -> str | None:
        """The latest request for a run, handled or not."""
        return shortened(self.metadata.annotations.get(REQUESTED_AT)) or self.status.last_handled_request_at

    @property
    def pending_request(self) -> str | None:
        """The latest request for a run, or None once it has been handled."""
        token = shortened(self.metadata.annotations.get(REQUESTED_AT))
        return token if token and token != self.status.last_handled_request_at else None

    @property
    def parameters(self) -> RunParameters:
        """The parameters of the latest request."""
        return parameters_of(self.metadata.annotations)

    @property
    def pending_cancel(self) -> str | None:
        """The run ID or request to cancel, or None once it has been handled."""
        wanted = shortened(self.metadata.annotations.get(CANCEL))
        return wanted if wanted and wanted != self.status.last_handled_cancel else None

    @property
    def pending_reset(self) -> str | None:
        """The annotation that resets the failure count, or None once it has been handled."""
        wanted = shortened(self.metadata.annotations.get(RESET_AT))
        return wanted if wanted and wanted != self.status.last_handled_reset_at else None

    def run_request(self, spec: RefreshSpec, parameters: RunParameters = NO_PARAMETERS) -> RunRequest:
        """Return the run request for a run's pod."""
        meta = self.metadata
        ref = RefreshRef(name=meta.name, namespace=meta.namespace, uid=meta.uid)
        wanted = run_vars(parameters.vars) if parameters.vars else {}
        return RunRequest(refresh=ref, generation=meta.generation, spec=spec, mode=parameters.mode or ModeKind.REFRESH, vars=wanted)


def parse_refresh(raw: Json) -> Refresh:
    """Return a refresh from the API server's JSON. Never raise for what users wrote: the result has an InvalidSpec instead."""
    metadata, invalid = _metadata(mapping(raw.get("metadata")))
    spec, unknown = (invalid, ()) if invalid else _spec(raw.get("spec", {}), unreadable(raw))
    status = mapping(raw.get("status"))
    found = Refresh(metadata, spec, _status(status), _run(status), unknown)
    if isinstance(spec, RefreshSpec) and len(to_json(raw.get("spec"))) > _SHORT_SPEC and (excess := found.run_request(spec).size_error):
        return replace(found, spec=InvalidSpec(ReadyReason.INVALID_SPEC, "spec", excess))
    return found


def _metadata(metadata: Json) -> tuple[Metadata, InvalidSpec | None]:
    """Return the metadata without the fields of a wrong type, and the first such field."""
    try:
        return Metadata.model_validate(metadata), None
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
    wrong = {str(each["loc"][0]) for each in errors}
    known = {"name": "", "creationTimestamp": _NO_TIME, **{key: value for key, value in metadata.items() if key not in wrong}}
    first = errors[0]
    return Metadata.model_validate(known), InvalidSpec(ReadyReason.UNREADABLE, field_path("metadata", first["loc"]), first["msg"])


def _spec(spec: JsonValue, dropped: Mapping[str, str]) -> tuple[RefreshSpec | InvalidSpec, tuple[str, ...]]:
    """Return the spec and its unknown fields, which are ignored so that a downgrade of the operator stops no refresh."""
    for path, why in dropped.items():
        if not path.startswith("status"):
            return InvalidSpec(ReadyReason.UNREADABLE, path, why), ()
    try:
        return RefreshSpec.model_validate(spec), ()
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        extra = [each["loc"] for each in errors if each["type"] == "extra_forbidden"]
        for location in extra:
            if message := renamed.message_for(location):
                return InvalidSpec(ReadyReason.INVALID_SPEC, field_path("spec", location), message), ()
        unknown = tuple(field_path("spec", each) for each in extra)
    try:
        return RefreshSpec.model_validate(spec, extra="ignore"), unknown
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    field_name = str(first["loc"][0]) if first["loc"] else ""
    reason = _SPEC_REASONS.get(field_name, ReadyReason.INVALID_SPEC)
    return InvalidSpec(reason, field_path("spec", first["loc"]), first["msg"].removeprefix("Value error, ")), unknown


def _status(status: Json) -> OperatorStatus:
    """Return the operator's part of the status. Drop fields that another operator version wrote in another form."""
    known = {info.alias or name for name, info in OperatorStatus.model_fields.items()}
    readable: Json = {}
    for name in known & status.keys():
        try:
            OperatorStatus.model_validate({name: status[name]})
        except ValidationError:
            continue
        readable[name] = status[name]
    return OperatorStatus.model_validate(readable)


def _run(status: Json) -> Run | None:
    try:
        return RunnerStatus.model_validate({"run": status.get("run")}).run
    except ValidationError:
        return None
