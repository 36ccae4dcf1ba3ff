"""Models of the Kubernetes objects that the operator reads, with only the fields that it needs; pure."""

from collections.abc import Iterable
from typing import Final, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from refresh_api.names import BASE_CONTAINER, PROJECT_CONTAINER, UID_ANNOTATION
from refresh_api.objects import Json
from refresh_api.status import clip
from refresh_operator.errors import Unreadable

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_FIELD_NAME_LENGTH: Final = 64
"""Maximum number of characters of a field name in a path: users may choose names of any length."""


def mapping(value: JsonValue) -> Json:
    """Return the JSON object in a field, or an empty one if the field holds anything else."""
    return value if isinstance(value, dict) else {}


def field_path(top: str, parts: tuple[int | str, ...]) -> str:
    """Return the path of a field as in `spec.layers[0].name`."""
    return top + "".join(f"[{part}]" if isinstance(part, int) else f".{clip(part, _FIELD_NAME_LENGTH)}" for part in parts)


class KubeModel(BaseModel):
    """Base of all models of Kubernetes objects. Unknown fields are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )


class OwnerReference(KubeModel):
    """One owner of an object."""

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
    """Return an object as a model. If a field has the wrong type, raise Unreadable, which names the object and the field."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"{item.get('kind', model.__name__)} {mapping(item.get('metadata')).get('name', '')}"
        raise Unreadable(f"cannot read {what}: {field_path('', first['loc'])[1:]}: {first['msg']}") from error


def metadata_of(item: Json) -> Metadata:
    """Return the metadata of any object. Raise Unreadable if a field of it has the wrong type."""
    return parse_object(_Object, item).metadata


class KubeCondition(KubeModel):
    """A condition of a Job or pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: AwareDatetime | None = None


class JobStatus(KubeModel):
    """A Job's status, as written by the Job controller."""

    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    conditions: tuple[KubeCondition, ...] = ()


class Job(KubeModel):
    """The Job of one run."""

    metadata: Metadata
    status: JobStatus = JobStatus()

    @property
    def end(self) -> KubeCondition | None:
        """The condition Complete or Failed, or None while the Job is active."""
        return next((each for each in self.status.conditions if each.type in ("Complete", "Failed") and each.status == "True"), None)

    @property
    def refresh_uid(self) -> str | None:
        """The UID of the refresh that this Job was created for, or None if it has no such annotation."""
        return self.metadata.annotations.get(UID_ANNOTATION)

    def is_owned_by(self, uid: str) -> bool:
        """Return whether an object with this UID owns the Job."""
        return any(owner.uid == uid for owner in self.metadata.owner_references)

    @property
    def is_active(self) -> bool:
        """Whether the Job has neither finished nor started to terminate."""
        return not self.end and not self.metadata.deletion_timestamp


def job_names(jobs: Iterable[Job]) -> tuple[str, ...]:
    """Return the names of Jobs."""
    return tuple(job.metadata.name for job in jobs)


class Terminated(KubeModel):
    """How a container terminated."""

    exit_code: int
    reason: str = ""
    message: str = ""


class Waiting(KubeModel):
    """Why a container has not started."""

    reason: str = ""
    message: str = ""


class Running(KubeModel):
    """The state of a running container."""


class ContainerState(KubeModel):
    """A container's state. At most one of the fields is set."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(KubeModel):
    """The status of one container of a pod."""

    name: str = ""
    image: str = ""
    image_id: str = Field(default="", alias="imageID")
    state: ContainerState = ContainerState()


class PodStatus(KubeModel):
    """A pod's status, as written by the kubelet and the scheduler."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[KubeCondition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(KubeModel):
    """The pod of one attempt."""

    metadata: Metadata
    status: PodStatus = PodStatus()

    @property
    def state(self) -> ContainerState:
        """The state of the runner's container, or of the one that fetches its project until that has succeeded."""
        if self.fetch_state and not self.has_fetched:
            return self.fetch_state
        return self.status.container_statuses[0].state if self.status.container_statuses else ContainerState()

    @property
    def fetch_state(self) -> ContainerState | None:
        """The state of the container that fetches the project; None if there is none.

        A preview's pod has two: that of the first is returned until it has succeeded. The cluster may add other containers, such as those
        of a service mesh.
        """
        ours = [each.state for each in self.status.init_container_statuses if each.name in (PROJECT_CONTAINER, BASE_CONTAINER)]
        return next((state for state in ours if state.terminated is None or state.terminated.exit_code), ours[-1] if ours else None)

    @property
    def has_fetched(self) -> bool:
        """Whether the container that fetches the project has succeeded."""
        ended = self.fetch_state.terminated if self.fetch_state else None
        return ended is not None and ended.exit_code == 0

    @property
    def is_fetching(self) -> bool:
        """Whether the container that fetches the project has started and has not succeeded."""
        fetch = self.fetch_state
        return fetch is not None and not self.has_fetched and (fetch.running is not None or fetch.terminated is not None)

    @property
    def image(self) -> str | None:
        """The image of the container, with its digest if the node has reported one."""
        seen = self.status.container_statuses[0] if self.status.container_statuses else ContainerStatus()
        return (seen.image_id.removeprefix("docker-pullable://") if "@" in seen.image_id else seen.image) or None
