"""What was seen of one refresh and all that belongs to it: JSON of the API server, parsed once; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import to_json

from refresh_api.names import CANCEL, REQUESTED_AT, RESET_AT, RUN_MODE, RUN_VARS, TOKEN_LENGTH, UID_ANNOTATION
from refresh_api.objects import Json, unreadable
from refresh_api.reasons import ReadyReason
from refresh_api.run_request import ModeKind, RefreshRef, RunRequest, run_vars
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, Run, RunnerStatus, clip
from refresh_operator.errors import Unreadable
from refresh_operator.names import Ref

_NO_TIME: Final = "1970-01-01T00:00:00Z"
_SHORT: Final = 2**16
"""Bytes of a spec whose order is not too long for a pod, whatever its defaults add."""
_NAME: Final = 64
"""Characters of a field's name in a path: names may be as long as their users like."""
JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_SPEC_REASONS: Final = {"schedule": ReadyReason.INVALID_SCHEDULE, "timeZone": ReadyReason.INVALID_TIME_ZONE}


def mapping(value: JsonValue) -> Json:
    """Return the object that a field holds; an empty one where it holds none."""
    return value if isinstance(value, dict) else {}


class KubeModel(BaseModel):
    """A part of an object of Kubernetes: only the fields that are read here."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )


class OwnerReference(KubeModel):
    """Who an object belongs to."""

    uid: str
    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(KubeModel):
    """An object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    creation_timestamp: AwareDatetime
    deletion_timestamp: AwareDatetime | None = None


class _Object(KubeModel):
    metadata: Metadata


Model = TypeVar("Model", bound=KubeModel)


def parse_object(model: type[Model], item: Json) -> Model:
    """Return an object as far as it is read here; Unreadable, with its name, where it can't be."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"{item.get('kind', model.__name__)} {mapping(item.get('metadata')).get('name', '')}"
        raise Unreadable(f"{what} can't be read: {_path('', first['loc'])[1:]}: {first['msg']}") from error


def metadata_of(item: Json) -> Metadata:
    """Return the metadata of any object; Unreadable where they can't be read."""
    return parse_object(_Object, item).metadata


class KubeCondition(KubeModel):
    """A condition of a Job or pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: AwareDatetime | None = None


class JobStatus(KubeModel):
    """What the Job controller says."""

    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    conditions: tuple[KubeCondition, ...] = ()


class Job(KubeModel):
    """One run's Job."""

    metadata: Metadata
    status: JobStatus = JobStatus()

    @property
    def end(self) -> KubeCondition | None:
        """The condition that ended the Job: Complete or Failed; None while it is under way."""
        return next((each for each in self.status.conditions if each.type in ("Complete", "Failed") and each.status == "True"), None)

    @property
    def refresh_uid(self) -> str | None:
        """Of which refresh it says to be; None where it says nothing."""
        return self.metadata.annotations.get(UID_ANNOTATION)

    @property
    def is_active(self) -> bool:
        """Whether it has neither ended nor is being deleted."""
        return not self.end and not self.metadata.deletion_timestamp


class Terminated(KubeModel):
    """How a container ended."""

    exit_code: int
    reason: str = ""
    message: str = ""


class Waiting(KubeModel):
    """Why a container has not started."""

    reason: str = ""
    message: str = ""


class ContainerState(KubeModel):
    """One of these is set."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(KubeModel):
    """A container in a pod."""

    image: str = ""
    image_id: str = Field(default="", alias="imageID")
    state: ContainerState = ContainerState()


class PodStatus(KubeModel):
    """What the kubelet and the scheduler say."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[KubeCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(KubeModel):
    """One attempt's pod."""

    metadata: Metadata
    status: PodStatus = PodStatus()

    @property
    def state(self) -> ContainerState:
        """The state of its only container."""
        return self.status.container_statuses[0].state if self.status.container_statuses else ContainerState()

    @property
    def image(self) -> str | None:
        """The image that it ran, with the digest as far as the node knows it."""
        seen = self.status.container_statuses[0] if self.status.container_statuses else ContainerStatus()
        return (seen.image_id.removeprefix("docker-pullable://") if "@" in seen.image_id else seen.image) or None


@dataclass(frozen=True)
class InvalidSpec:
    """A spec that passed the API server's schema and still can't be: which field, and why."""

    reason: str
    path: str
    message: str


@dataclass(frozen=True)
class RunParameters:
    """What a request asks for beside a plain refresh, as its users wrote it."""

    mode: str | None = None
    vars: str | None = None

    @property
    def annotations(self) -> dict[str, str]:
        """As a Job carries it."""
        return {name: value for name, value in ((RUN_MODE, self.mode), (RUN_VARS, self.vars)) if value}


NO_PARAMETERS: Final = RunParameters()
SHORTENED_LENGTH: Final = 32
"""Characters of an annotation that is too long by which people know it again."""


def parameters_of(annotations: Mapping[str, str]) -> RunParameters:
    """Return what the annotations of a refresh, or of a Job, ask for."""
    return RunParameters(annotations.get(RUN_MODE) or None, annotations.get(RUN_VARS) or None)


def shortened(text: str | None) -> str | None:
    """Return what a status keeps of an annotation that was answered: all of it, or its start and a hash where it is long."""
    if text is None or len(text) <= TOKEN_LENGTH:
        return text
    return f"{text[:SHORTENED_LENGTH]}… ({len(text)} characters, SHA-256 {sha256(text.encode(errors='replace')).hexdigest()})"


@dataclass(frozen=True)
class Refresh:
    """A DashboardRefresh: its spec, or what is wrong with it, and its status by writers."""

    metadata: Metadata
    spec: RefreshSpec | InvalidSpec
    status: OperatorStatus
    run: Run | None
    unknown_fields: tuple[str, ...] = ()
    """Fields of the spec that the API server knows and this operator does not."""

    @property
    def ref(self) -> Ref:
        """Which refresh this is."""
        return Ref(self.metadata.namespace, self.metadata.name)

    @property
    def pending_request(self) -> str | None:
        """The latest request for a run, if it was not answered yet."""
        token = shortened(self.metadata.annotations.get(REQUESTED_AT))
        return token if token and token != self.status.last_handled_request_at else None

    @property
    def parameters(self) -> RunParameters:
        """What the latest request asks for."""
        return parameters_of(self.metadata.annotations)

    @property
    def pending_cancel(self) -> str | None:
        """The run, or the request, that is to end, if that was not answered yet."""
        wanted = shortened(self.metadata.annotations.get(CANCEL))
        return wanted if wanted and wanted != self.status.last_handled_cancel else None

    def run_request(self, spec: RefreshSpec, asked: RunParameters = NO_PARAMETERS) -> RunRequest:
        """What a run's pod is told."""
        meta = self.metadata
        ref = RefreshRef(name=meta.name, namespace=meta.namespace, uid=meta.uid)
        wanted = run_vars(asked.vars) if asked.vars else {}
        return RunRequest(refresh=ref, generation=meta.generation, spec=spec, mode=asked.mode or ModeKind.REFRESH, vars=wanted)

    @property
    def pending_reset(self) -> str | None:
        """The annotation that begins the count of failures anew, if that was not answered yet."""
        wanted = shortened(self.metadata.annotations.get(RESET_AT))
        return wanted if wanted and wanted != self.status.last_handled_reset_at else None


@dataclass(frozen=True)
class Pause:
    """Nothing starts anywhere, by the will of who runs the operator."""

    message: str
    until: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """One refresh and all that belongs to it, at one moment."""

    refresh: Refresh
    objects: Mapping[str, Json] = field(default_factory=dict)
    """What is there under the names of our objects, by kind: CronJob, ServiceAccount, Role, RoleBinding."""
    jobs: tuple[Job, ...] = ()
    previous_owner_jobs: tuple[Job, ...] = ()
    """Jobs that say to be of another refresh of this name."""
    pods: tuple[Pod, ...] = ()
    heartbeat_age: timedelta = timedelta(0)
    """How long `status.run` has been showing the same heartbeat, by the operator's own clock."""
    missing_secrets: tuple[str, ...] = ()
    """What the warehouse's Secret lacks, in words; empty when all is there."""
    pause: Pause | None = None
    namespace_terminating: bool = False
    """Whether the namespace is being deleted; asked only where a run's pod is."""
    denied_secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets that it names and may not use, with why."""

    def pods_of(self, job: str) -> list[Pod]:
        """The pods of one Job, oldest first."""
        pods = [pod for pod in self.pods if pod.metadata.labels.get(JOB_NAME_LABEL) == job]
        return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)

    def pending_since(self, job: str, made: datetime) -> datetime:
        """When a Job's newest pod was made, or else the Job itself."""
        pods = self.pods_of(job)
        return pods[-1].metadata.creation_timestamp if pods else made


def parse_refresh(raw: Json) -> Refresh:
    """Return the refresh that the API server sent; whatever its users wrote is no error here, even where it can't be read."""
    metadata, odd = _metadata(mapping(raw.get("metadata")))
    spec, unknown = (odd, ()) if odd else _spec(raw.get("spec", {}), unreadable(raw))
    status = mapping(raw.get("status"))
    found = Refresh(metadata, spec, _share(status), _run(status), unknown)
    if isinstance(spec, RefreshSpec) and len(to_json(raw.get("spec"))) > _SHORT and (excess := found.run_request(spec).excess):
        return replace(found, spec=InvalidSpec(ReadyReason.INVALID_SPEC, "spec", excess))
    return found


def _metadata(metadata: Json) -> tuple[Metadata, InvalidSpec | None]:
    """The metadata as far as they can be read, and what can't."""
    try:
        return Metadata.model_validate(metadata), None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        odd = {str(each["loc"][0]) for each in error.errors(include_input=False, include_url=False)}
    known = {"name": "", "creationTimestamp": _NO_TIME, **{key: value for key, value in metadata.items() if key not in odd}}
    return Metadata.model_validate(known), InvalidSpec(ReadyReason.UNREADABLE, _path("metadata", first["loc"]), first["msg"])


def _spec(spec: JsonValue, left_out: Mapping[str, str]) -> tuple[RefreshSpec | InvalidSpec, tuple[str, ...]]:
    """The spec, and the fields that we don't know: of a newer CRD, so that all goes on after a step back, as with Kubernetes' own."""
    for path, why in left_out.items():
        if not path.startswith("status"):
            return InvalidSpec(ReadyReason.UNREADABLE, path, why), ()
    try:
        return RefreshSpec.model_validate(spec), ()
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        unknown = tuple(_path("spec", each["loc"]) for each in errors if each["type"] == "extra_forbidden")
    try:
        return RefreshSpec.model_validate(spec, extra="ignore"), unknown
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    field_name = str(first["loc"][0]) if first["loc"] else ""
    reason = _SPEC_REASONS.get(field_name, ReadyReason.INVALID_SPEC)
    return InvalidSpec(reason, _path("spec", first["loc"]), first["msg"].removeprefix("Value error, ")), unknown


def _path(top: str, parts: tuple[int | str, ...]) -> str:
    return top + "".join(f"[{part}]" if isinstance(part, int) else f".{clip(part, _NAME)}" for part in parts)


def _share(status: Json) -> OperatorStatus:
    """Our own share. A field that an older or newer operator wrote in another form is forgotten rather than fatal."""
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
