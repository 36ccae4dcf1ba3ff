"""Reads a job of the dbt platform, and the environment of the job, as the Admin API (v2 and v3) gives them in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from refresh_runner.importers import schedules
from refresh_runner.importers.description import DbtCommand, Description, GitProject, Note, Overrides, UnreadableError, Verb
from refresh_runner.importers.findings import Findings, chosen, seconds
from refresh_runner.importers.hidden import logins
from refresh_runner.importers.shell import of_script

_DELETED: Final = 2
"""State of a job that was deleted."""
Json = Mapping[str, JsonValue]


@dataclass(frozen=True)
class _Job:
    name: str
    content: Json


def dbt_platform(contents: Mapping[str, bytes], overrides: Overrides) -> Description:
    """Return the description of a job. Raise UnreadableError if it cannot be understood."""
    found = [each for file, content in contents.items() for each in _objects(content, file)]
    jobs = [_Job(str(each.get("name") or each.get("id")), each) for each in found if "execute_steps" in each]
    job = chosen(jobs, "job", overrides.only).content
    environment = _environment(job, [each for each in found if "use_custom_branch" in each])
    findings = Findings()
    if job.get("run_generate_sources") is True:
        # The platform's own check does not fail the job.
        findings.commands.append(DbtCommand(Verb.FRESHNESS, "run_generate_sources", tolerated=True))
    steps = job.get("execute_steps")
    for number, step in enumerate(steps if isinstance(steps, list) else []):
        findings.add(of_script(str(step), f"execute_steps[{number}]", stops_at_errors=True))
    _settings(findings, job)
    settings = _part(job, "settings")
    threads = settings.get("threads")
    target = settings.get("target_name")
    description = Description(
        source=f"the dbt platform's job {job.get('id')}",
        name=str(job.get("name") or f"job-{job.get('id')}"),
        schedule=_schedule(job, overrides),
        commands=(),
        is_suspended=_part(job, "triggers").get("schedule") is not True,
        timeout=seconds(_part(job, "execution").get("timeout_seconds")),
        project=_project(findings, environment),
        target=target if isinstance(target, str) else None,
        threads=threads if isinstance(threads, int) else None,
    )
    return findings.complete(description)


def _objects(content: bytes, file: str) -> Iterator[Json]:
    """Yield the objects of a response: the one or those under `data`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{file} is not valid JSON: {error}") from error
    inner = document.get("data", document) if isinstance(document, dict) else document
    yield from (each for each in (inner if isinstance(inner, list) else [inner]) if isinstance(each, dict))


def _environment(job: Json, environments: Sequence[Json]) -> Json:
    """Return the environment of a job; empty if none is given. Raise UnreadableError if others are."""
    wanted = job.get("environment_id")
    if environments and not any(each.get("id") == wanted for each in environments):
        given = ", ".join(str(each.get("id")) for each in environments)
        raise UnreadableError(f"environment_id: the job is of the environment {wanted}, and the files have {given}")
    return next((each for each in environments if each.get("id") == wanted), {})


def _part(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _schedule(job: Json, overrides: Overrides) -> str:
    """Return the schedule. Raise UnreadableError if the job has none that is in use."""
    if overrides.schedule:
        return overrides.schedule
    if job.get("state") == _DELETED:
        raise UnreadableError("state: the job was deleted; give a schedule by --schedule")
    if _part(job, "triggers").get("schedule") is not True:
        raise UnreadableError("triggers.schedule: the job is not started by a schedule; give one by --schedule")
    schedule = _part(job, "schedule")
    line = schedule.get("cron") or _part(schedule, "date").get("cron") or _line_of_times(schedule)
    if not isinstance(line, str):
        raise UnreadableError("schedule: it has neither a cron line nor hours; give one by --schedule")
    return schedules.cron_line(line, "schedule.cron", schedules.Seconds.LAST)


def _line_of_times(schedule: Json) -> str | None:
    """Return the line of a schedule by hours and weekdays."""
    days, times = _part(schedule, "date"), _part(schedule, "time")
    hours, interval, weekdays = times.get("hours"), times.get("interval"), days.get("days")
    if times.get("type") == "at_exact_hours" and isinstance(hours, list) and hours:
        hour = ",".join(map(str, hours))
    elif times.get("type") == "every_hour" and isinstance(interval, int):
        hour = f"*/{interval}"
    else:
        return None
    return f"0 {hour} * * {','.join(map(str, weekdays)) if isinstance(weekdays, list) and weekdays else '*'}"


def _project(findings: Findings, environment: Json) -> GitProject | None:
    """Return the repository of an environment."""
    project = _part(environment, "project")
    address = _part(project, "repository").get("remote_url")
    if not isinstance(address, str) or not address:
        return None
    findings.hidden += logins(address)
    branch = environment.get("custom_branch") if environment.get("use_custom_branch") is True else None
    return GitProject(address, str(branch) if branch else None, str(project.get("dbt_project_subdirectory") or "."))


def _settings(findings: Findings, job: Json) -> None:
    """Note what the platform does and a refresh does not."""
    triggers = _part(job, "triggers")
    for name in ("github_webhook", "git_provider_webhook"):
        if triggers.get(name) is True:
            findings.note(f"triggers.{name}", "the job also checks pull requests: see previews")
    if triggers.get("on_merge") is True:
        findings.note("triggers.on_merge", "the job also runs after a merge: see `project.onProjectChange: Run`")
    if job.get("job_completion_trigger_condition"):
        findings.decide("job_completion_trigger_condition", "the job runs after another one: name that refresh in `dependsOn`")
    if job.get("deferring_environment_id") or job.get("deferring_job_definition_id"):
        findings.decide("deferring_environment_id", "deferral has no counterpart: models that this refresh does not build must exist")
    if job.get("lifecycle_webhooks") is True:
        findings.note("lifecycle_webhooks", "see `notifications[].webhook`; its address is not copied, and belongs in a Secret")
    if job.get("generate_docs") is True:
        findings.note("generate_docs", "each run stores the docs: `kubectl dashboardrefresh artifacts NAME RUN docs.html`")
    if job.get("dbt_version"):
        findings.note("dbt_version", "runs use the dbt-core of the runner's image")
    if job.get("run_compare_changes") is True:
        findings.note("run_compare_changes", "see previews, which compare rows")
    text = "they are not part of the job in the Admin API: see its settings there, and `notifications`"
    findings.notes.append(Note("notifications", text, decide=True))
    text = "environment variables of the job and its environment are not in it: models read `dbt.vars` here"
    findings.note("custom environment variables", text)
