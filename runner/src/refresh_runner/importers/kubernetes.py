"""Reads objects of Kubernetes: a CronJob whose pod runs dbt, and a DbtProject of dagctl-dbt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from yaml import MarkedYAMLError

from refresh_api.values import Quantity
from refresh_runner.importers import schedules
from refresh_runner.importers.commands import SUBCOMMANDS
from refresh_runner.importers.description import Description, GitProject, Overrides, UnreadableError
from refresh_runner.importers.findings import Findings, chosen, seconds
from refresh_runner.importers.hidden import is_secret, leaves
from refresh_runner.importers.schedules import Seconds
from refresh_runner.importers.shell import Script, of_words
from refresh_runner.importers.steps import placed
from refresh_runner.model.loader import InvalidRunRequestError, documents_in

_POD: Final = "spec.jobTemplate.spec.template.spec"
_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
_SCHEDULING: Final = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets", "topologySpreadConstraints")
Json = Mapping[str, JsonValue]


@dataclass(frozen=True)
class _Object:
    """An object in a file."""

    name: str
    namespace: str
    spec: Json

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def cronjob(content: bytes, file: str, overrides: Overrides) -> Description:
    """Return the description of a CronJob. Raise UnreadableError if it cannot be understood."""
    found = chosen(list(_objects(content, file, "CronJob", "batch/v1")), "CronJob", overrides.only)
    spec, findings = found.spec, Findings()
    job = _inner(spec, "jobTemplate", "spec")
    pod = _inner(job, "template", "spec")
    zone, line = schedules.zone_and_line(_text(spec, "schedule", "spec.schedule"))
    zone = str(spec["timeZone"]) if spec.get("timeZone") else zone
    if zone is None:
        findings.note("spec.timeZone", "not set there: the time zone of the cluster's controller, which is nearly always UTC")
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(_items(pod, kind)):
            name = str(container.get("name") or number)
            is_init = kind == "initContainers"
            _container(findings, container, f"{'init container' if is_init else 'container'} {name}", is_init=is_init)
    _settings(findings, spec, job, pod)
    limits = [limit for each in (job, pod) if (limit := seconds(each.get("activeDeadlineSeconds")))]
    description = Description(
        source=f"CronJob {found.title}",
        name=found.name,
        schedule=_schedule(line, "spec.schedule", overrides),
        commands=(),
        time_zone=zone or "Etc/UTC",
        is_suspended=spec.get("suspend") is True,
        retries=_number(job, "backoffLimit"),
        timeout=min(limits, default=None),
        project=placed(findings.project, findings.clone, findings.commands),
        resources=_resources(findings, [*_items(pod, "containers")]),
    )
    return findings.complete(description)


def dagctl_dbt(content: bytes, file: str, overrides: Overrides) -> Description:
    """Return the description of a DbtProject of dagctl-dbt. Raise UnreadableError if it cannot be understood."""
    found = chosen(list(_objects(content, file, "DbtProject", "orchestration.scalecraft.io/v1alpha1")), "DbtProject", overrides.only)
    spec, findings = found.spec, Findings()
    zone, line = schedules.zone_and_line(_text(spec, "schedule", "spec.schedule"))
    words = [str(word) for word in _list(spec, "commands")] or ["run"]
    findings.add(of_words(["dbt", *words], "spec.commands"))
    _environment(findings, spec, "spec.env")
    for field in ("profilesConfigMap", "profilesSecret"):
        if spec.get(field):
            findings.credentials.append(f"the {field.removeprefix('profiles')} {spec[field]} with profiles.yml")
    for field in ("serviceAccountName", "volumeMounts", "volumeClaimTemplates"):
        if spec.get(field):
            findings.note(f"spec.{field}", "has no counterpart")
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if spec.get(field) is not None:
            findings.note(f"spec.{field}", "a refresh keeps the run log for `history.retentionDays`")
    if spec.get("image"):
        findings.note("spec.image", "runs use the runner's image, which has dbt-core and dbt-postgres")
    git = _inner(spec, "git")
    findings.hidden += leaves(_login_of(git))
    if git.get("sshKeySecret"):
        text = f"the Secret {git['sshKeySecret']} has other keys: create one with identity and known_hosts for `project.git.secretRef`"
        findings.decide("spec.git.sshKeySecret", text)
    description = Description(
        source=f"DbtProject {found.title} of dagctl-dbt",
        name=found.name,
        schedule=_schedule(line, "spec.schedule", overrides, Seconds.FIRST),
        commands=(),
        time_zone=zone or "Etc/UTC",
        is_suspended=spec.get("suspend") is True,
        project=GitProject(
            url=_text(git, "repository", "spec.git.repository"),
            ref=str(git.get("ref") or "main"),
            path=str(git.get("path") or "."),
            secret=str(git["authSecret"]) if git.get("authSecret") else None,
        ),
        resources=_resources(findings, [spec]),
    )
    return findings.complete(description)


def _login_of(git: Json) -> JsonValue:
    address = str(git.get("repository") or "")
    return address.partition("://")[2].rpartition("@")[0].partition(":")[2] or None


def _schedule(line: str, place: str, overrides: Overrides, seconds: Seconds = Seconds.NOWHERE) -> str:
    """Return the schedule; the user's if one is given, so that one that no cron line says is no obstacle."""
    return overrides.schedule or schedules.cron_line(line, place, seconds)


def _objects(content: bytes, file: str, kind: str, api_version: str) -> Iterator[_Object]:
    try:
        documents = documents_in(content, file)
    except InvalidRunRequestError as error:
        raise UnreadableError(_said(error, file)) from error
    while documents:
        document = documents.pop(0)
        if not isinstance(document, dict):
            continue
        if str(document.get("kind", "")).endswith("List"):
            items = document.get("items")
            documents = [*(items if isinstance(items, list) else []), *documents]
        elif document.get("kind") == kind:
            if document.get("apiVersion") != api_version:
                raise UnreadableError(f"{file}: this {kind} is of {document.get('apiVersion')}; expected {api_version}")
            metadata = _inner(document, "metadata")
            yield _Object(str(metadata.get("name") or ""), str(metadata.get("namespace") or ""), _inner(document, "spec"))


def _said(error: InvalidRunRequestError, file: str) -> str:
    """Return the message of an error. That of PyYAML quotes the line, which may have a secret: only the place is left of it."""
    mark = error.__cause__.problem_mark if isinstance(error.__cause__, MarkedYAMLError) else None
    return f"{file} is not valid YAML: line {mark.line + 1}, column {mark.column + 1}" if mark else str(error)


def _container(findings: Findings, container: Json, place: str, *, is_init: bool) -> None:
    words = [str(word) for word in (*_list(container, "command"), *_list(container, "args"))]
    folder = str(container["workingDir"]) if container.get("workingDir") else None
    if not words:
        text = "it runs the command of its image, which is not in the manifest"
        (findings.note if is_init else findings.decide)(place, text)
    else:
        findings.add(_script(findings, container, words, place, folder))
    _environment(findings, container, place)
    if container.get("volumeMounts"):
        findings.note(
            place, "volumes have no counterpart: a run gets its project from its image or its repository, and Secrets from the spec"
        )


def _script(findings: Findings, container: Json, words: Sequence[str], place: str, folder: str | None) -> Script:
    if not container.get("command") and words[0] in SUBCOMMANDS | {"source"}:
        findings.note(place, "only `args` are given: the entrypoint of the image is taken to be dbt")
        return of_words(["dbt", *words], place, folder)
    return of_words(words, place, folder)


def _environment(findings: Findings, container: Json, place: str) -> None:
    """Note the names of environment variables and Secrets. Values are never copied."""
    others = []
    for entry in _items(container, "env"):
        name = str(entry.get("name") or "")
        reference = _inner(_inner(entry, "valueFrom"), "secretKeyRef")
        if reference:
            findings.credentials.append(f"the Secret {reference.get('name')}, key {reference.get('key')} (as {name})")
        elif is_secret(name, entry.get("value")):
            findings.hidden += leaves(entry.get("value"))
            text = f"the variable {name} has a secret as its value in the manifest, and is not copied"
            findings.decide(place, f"{text}: put it into a Secret, and change it, since everybody could read it")
        else:
            others.append(name)
    for entry in _items(container, "envFrom"):
        for kind, noun in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if referenced := _inner(entry, kind).get("name"):
                findings.credentials.append(f"the {noun} {referenced}")
    if others:
        text = "models read `dbt.vars`, the warehouse's login is in its Secret, and `podTemplate` takes variables such as those of a proxy"
        findings.note(place, f"variables that are not copied: {', '.join(others)}; {text}")


def _settings(findings: Findings, spec: Json, job: Json, pod: Json) -> None:
    """Note what Kubernetes does with a CronJob and not with a refresh."""
    policy = spec.get("concurrencyPolicy") or "Allow"
    if policy == "Replace":
        findings.note("spec.concurrencyPolicy", "Replace has no counterpart: a run waits for the one before it, or is skipped; see `lock`")
    elif policy == "Allow":
        findings.note("spec.concurrencyPolicy", "runs of a refresh never overlap, whereas Allow lets them")
    if spec.get("startingDeadlineSeconds") is not None:
        findings.note("spec.startingDeadlineSeconds", "has no counterpart: a missed run is reported, and not caught up")
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if spec.get(field) is not None:
            findings.note(f"spec.{field}", "a refresh keeps the run log for `history.retentionDays`")
    for field in ("completions", "parallelism"):
        if job.get(field) not in (None, 1):
            findings.note(f"spec.jobTemplate.spec.{field}", "has no counterpart: a run has one pod")
    for field in _SCHEDULING:
        if pod.get(field):
            findings.note(f"{_POD}.{field}", "not copied: `podTemplate.spec` takes most of these fields")
    if pod.get("volumes"):
        text = "no counterpart: a run gets its project from its image or a repository, and its Secrets from the spec"
        findings.note(f"{_POD}.volumes", text)
    for field in ("serviceAccountName", "hostNetwork", "securityContext"):
        if pod.get(field):
            findings.note(f"{_POD}.{field}", "not copied: the operator sets it")


def _resources(findings: Findings, containers: Sequence[Json]) -> dict[str, dict[str, JsonValue]]:
    """Return the resources of the only container."""
    if len(containers) != 1:
        if any(container.get("resources") for container in containers):
            findings.note(f"{_POD}.containers", "there are several: set `resources` for the run's only one")
        return {}
    found: dict[str, dict[str, JsonValue]] = {}
    for side in ("requests", "limits"):
        values = _inner(_inner(containers[0], "resources"), side)
        kept = {name: values[name] for name in _RESOURCES if _is_quantity(values.get(name))}
        if left := [str(name) for name in values if name not in kept]:
            findings.note(f"resources.{side}", f"{', '.join(left)} cannot be copied")
        if kept:
            found[side] = kept
    return found


def _is_quantity(value: JsonValue) -> bool:
    try:
        TypeAdapter(Quantity).validate_python(value)
    except ValidationError:
        return False
    return True


def _inner(value: object, *keys: str) -> Json:
    """Return the mapping at a path; an empty one if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(value: Json, key: str) -> list[JsonValue]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _items(value: Json, key: str) -> list[Json]:
    return [each for each in _list(value, key) if isinstance(each, dict)]


def _text(value: Json, key: str, place: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found.strip():
        raise UnreadableError(f"{place}: required, and missing")
    return found


def _number(value: Json, key: str) -> int | None:
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
