"""Reports a run to the log, the terminal, the refresh's status, the pod's termination message and the channels of notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.preview import PreviewEnd
from refresh_api.status import SHARED, NotificationStatus, Outcome, Reason, Run, RunPhase, TerminationMessage, clip
from refresh_notify import NotifiedRun, Rules, notify
from refresh_runner.core.errors import Failure
from refresh_runner.core.secrets import Redactor
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import skipped
from refresh_runner.report.log_output import JsonLines, PlainLines, Tail, log_to
from refresh_runner.report.outcome import Report, report_of
from refresh_runner.report.progress import RunProgress
from refresh_runner.report.status_writer import RunStatusWriter
from refresh_runner.report.terminal import LiveTable

log = logging.getLogger(__name__)

_STATUS_TIMEOUT: Final = 8.0
"""Seconds for the last write of the status. A pod has thirty in total between SIGTERM and SIGKILL."""
_MESSAGE_LENGTH: Final = 1000
"""Maximum number of characters of the message in the termination message."""
_TERMINATION_MESSAGE_BYTES: Final = 4096
"""Kubernetes truncates longer termination messages."""


@dataclass(frozen=True)
class ReporterConfig:
    """The configuration of a RunReporter."""

    plan: Plan
    redact: Redactor
    output: TextIO
    in_pod: bool
    status: RunStatusWriter | None
    termination_log: Path
    secrets: dict[str, dict[str, str]]
    link_template: str
    rules: Rules
    now: Callable[[], datetime]
    combines: bool = False
    """Whether the operator notifies chats and mail of failures that other refreshes may share, and after quiet hours."""


class RunReporter:
    """Reports the progress and the end of a run."""

    def __init__(self, config: ReporterConfig, shown: ExitStack) -> None:
        self._config = config
        self._run: Run | None = None
        plan, output = config.plan, config.output
        self._table: LiveTable | None = None
        refresh = f"{plan.run_request.refresh.namespace}/{plan.run_request.refresh.name}"
        lines = JsonLines(config.redact, refresh, plan.attempt.run_id, lambda: self._run.step if self._run else None)
        self.tail = Tail(lines)
        if config.in_pod:
            log_to(output, lines, self.tail)
        elif output.isatty():
            self._table = shown.enter_context(LiveTable(Console(file=output), plan.run_request.display_name, config.redact))
        else:
            log_to(output, PlainLines(config.redact), self.tail)
            # dbt logs a line for each model and test; at a terminal, the steps are enough.
            logging.getLogger("dbt").setLevel(logging.WARNING)

    @property
    def redact(self) -> Redactor:
        """The redactor for everything that is reported."""
        return self._config.redact

    @property
    def secrets(self) -> Mapping[str, Mapping[str, str]]:
        """The Secrets that the refresh names and that exist, by name and key."""
        return self._config.secrets

    def update(self, run: Run) -> None:
        """Report a new state of the run."""
        self._log_changes(run)
        self._run = run
        if self._table:
            self._table.show(run)
        if self._config.status:
            self._config.status.update(run)

    def enable_status(self) -> None:
        """Show this run in the refresh's status from now on."""
        if self._config.status:
            self._config.status.enable()

    def finish(self, report: Report, progress: RunProgress) -> None:
        """Report the end of the run: termination message, notifications, status. It is already in the log."""
        self._write_termination_message(report, progress.run, notified=False)
        if report.notify_when and self._config.plan.run_request.spec.notifications:
            notifications = self._own_channels(report, progress)
            self._notify(notifications, self._notified_run(report, report.notify_when, progress.run), progress)
            self._write_termination_message(report, progress.run, notified=True)
        if self._config.status:
            self._config.status.finish(_STATUS_TIMEOUT)

    def test_channels(self, progress: RunProgress) -> Report:
        """Send a test message through each channel, and report which accepted it. The run is skipped: it says nothing about the data."""
        plan = self._config.plan
        self.enable_status()
        for name, why in plan.policy.skipped_steps.items():
            progress.step_ended(name, skipped(why))
        report = report_of(plan, {}, Failure(Reason.NOTIFICATIONS_TESTED, "", skips_run=True))
        channels = plan.run_request.spec.notifications
        sent = self._notify(channels, replace(self._notified_run(report, NotifyWhen.FAILED, progress.run), is_test=True), progress)
        refused = "; ".join(f"{each.channel}: {each.message}" for each in sent if not each.sent)
        accepted = f"{sum(each.sent for each in sent)} of {len(sent)} channels accepted the test message"
        report = replace(report, message=f"{accepted}; {refused}" if refused else accepted)
        progress.concluded(report)
        log.info(report.line)
        self.finish(report, progress)
        return report

    def _own_channels(self, report: Report, progress: RunProgress) -> list[Notification]:
        """Return the channels that this run notifies itself.

        A failure is left to the operator only if that is known to have seen this run, since it may be down.
        """
        spec, now = self._config.plan.run_request.spec, self._config.now()
        every, loud = spec.notifications, [each for each in spec.notifications if not each.is_quiet(spec.time_zone, now)]
        if not report.is_failed:
            return loud
        is_shared = report.reason in SHARED and any(each.combines for each in every)
        if not (is_shared or len(loud) < len(every)) or not self._is_seen_by_operator(progress.run):
            return every
        if not is_shared:
            log.info("the operator notifies channels that are quiet now when their quiet hours end")
            return loud
        log.info("the operator notifies chats and mail, together with other refreshes that fail for the same cause")
        progress.left_to_operator()
        self._write_termination_message(report, progress.run, notified=False)
        return [each for each in every if not each.combines]

    def _is_seen_by_operator(self, run: Run) -> bool:
        status = self._config.status
        return self._config.combines and status is not None and status.is_seen_by_operator(run.id, _STATUS_TIMEOUT)

    def _notify(self, notifications: Sequence[Notification], run: NotifiedRun, progress: RunProgress) -> list[NotificationStatus]:
        config = self._config
        sent = notify(notifications, config.secrets, run, config.rules)
        for channel in sent:
            level = logging.INFO if channel.sent else logging.WARNING
            log.log(level, "%s %s", channel.channel, "notified" if channel.sent else f"could not be notified: {channel.message}")
        progress.notified(sent)
        return sent

    def _log_changes(self, run: Run) -> None:
        if run.phase is RunPhase.WAITING and run.message:
            log.info(run.message)
        before = {step.name: step.state for step in self._run.steps} if self._run else {}
        for number, step in enumerate(run.steps, 1):
            if before.get(step.name, "Pending") != step.state:
                log.info("%s/%s %s %s%s", number, len(run.steps), step.name, step.state, f": {step.message}" if step.message else "")

    def _notified_run(self, report: Report, when: NotifyWhen, run: Run) -> NotifiedRun:
        plan, redact = self._config.plan, self._config.redact
        return NotifiedRun(
            when=when,
            refresh=plan.run_request.refresh.name,
            namespace=plan.run_request.refresh.namespace,
            uid=plan.run_request.refresh.uid,
            title=plan.run_request.display_name,
            run=run.id,
            reason=report.reason,
            message=redact(report.message),
            hint=redact(report.hint),
            step=run.step,
            attempts=run.attempt,
            marts=report.marts,
            in_cluster=self._config.in_pod,
            link_template=self._config.link_template,
            revision=run.revision,
        )

    def _write_termination_message(self, report: Report, run: Run, *, notified: bool) -> None:
        if self._config.in_pod:
            words = TerminationMessage(
                id=run.id,
                attempt=run.attempt,
                phase=report.phase,
                outcome=report.outcome,
                reason=report.reason,
                message=self._config.redact.clipped(report.message, _MESSAGE_LENGTH),
                marts=report.marts,
                step=run.step,
                revision=run.revision,
                notified=notified,
                left_to_operator=run.left_to_operator,
            )
            write_termination_message(words, self._config.termination_log)


def report_rejection(message: str, run_id: str, attempt: int, termination_log: Path, reason: Reason = Reason.INVALID_RUN_REQUEST) -> None:
    """Write the termination message of a pod whose run request is invalid."""
    words = TerminationMessage(id=run_id, attempt=attempt, phase=RunPhase.FINISHED, outcome=Outcome.FAILED, reason=reason)
    # There is no redactor yet, and nothing is secret: a run request names Secrets, but does not contain them.
    write_termination_message(words.model_copy(update={"message": Redactor().clipped(message, _MESSAGE_LENGTH)}), termination_log)


def write_termination_message(words: TerminationMessage | PreviewEnd, path: Path) -> None:
    """Write a termination message short enough for Kubernetes. Outside of a pod the file does not exist, which is not an error."""
    length = len(words.message or "")
    while len(text := words.model_dump_json(by_alias=True, exclude_none=True).encode()) > _TERMINATION_MESSAGE_BYTES and length:
        length = length // 2
        words = words.model_copy(update={"message": clip(words.message or "", max(length, 1))})
    try:
        path.write_bytes(text)
    except OSError as error:
        log.debug("no termination message: %s", error)
