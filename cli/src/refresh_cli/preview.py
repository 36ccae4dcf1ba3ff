"""The command `preview`: requests a preview, follows it, and prints its report. It needs no permission on refreshes."""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from refresh_api import preview_text
from refresh_api.names import API_VERSION, NAME_MAX_LENGTH, PREVIEW_KIND
from refresh_api.objects import object_of
from refresh_api.plain import one_line, plain
from refresh_api.preview import PreviewState, PreviewStatus
from refresh_api.preview_report import DIFFERS, Difference
from refresh_api.project import short_revision
from refresh_api.run_request import selectors_in, vars_text
from refresh_api.values import duration
from refresh_cli.follow import TIMED_OUT
from refresh_cli.kubectl import PREVIEWS, CliError, Kubectl, incompatible

_INTERRUPTED: Final = 130
_SUFFIX: Final = 6
"""Characters that the API server adds to a generated name, with the dash before them."""
_REPORTS: Final = {"text": preview_text.text, "markdown": preview_text.markdown}


def preview_command(kubectl: Kubectl, options: argparse.Namespace) -> int:
    """Request a preview, and unless told otherwise wait for it and print its report; return the exit code."""
    if options.rows is not None:
        raise CliError(_no_rows(options))
    try:
        timeout = duration(options.timeout).total_seconds()
        body = manifest(options)
    except ValueError as error:
        raise CliError(str(error)) from None
    name = kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", stdin=json.dumps(body)).strip()
    if options.no_wait:
        print(plain(json.dumps({"preview": name}) if options.output == "json" else name))
        return 0
    print(plain(f"preview {name} requested"), file=sys.stderr, flush=True)
    try:
        status = _Watcher(kubectl, name).wait(timeout)
    except KeyboardInterrupt:
        print(
            plain(f"\npreview {name} goes on: kubectl get refreshpreview {name}; to end it: kubectl delete refreshpreview {name}"),
            file=sys.stderr,
        )
        return _INTERRUPTED
    return _finished(options, name, status)


def _no_rows(options: argparse.Namespace) -> str:
    change = options.branch or options.tag or options.commit
    command = f"refresh-runner preview FILE --project git+URL@{change} --base git+URL@LIVE --rows {options.rows}"
    return (
        "--rows: a preview in the cluster reports figures only, since others can read its status and its log. "
        f"To see the rows, preview the change on your own machine, with a login of your own for the warehouse: {command}"
    )


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    """Return the RefreshPreview to create; ValueError for invalid variables or selectors."""
    ref = {kind: value for kind in ("branch", "tag", "commit") if (value := getattr(options, kind))}
    vars_text(options.var)
    variables = dict(word.split("=", 1) for word in options.var)
    select = selectors_in(options.select, "--select")
    allow = [kind for kind in Difference if kind.lower() in options.allow]
    given = {"image": options.image or None, "sampleRows": options.sample_rows}
    start = options.name[: NAME_MAX_LENGTH - _SUFFIX].rstrip("-.")
    return {
        "apiVersion": API_VERSION,
        "kind": PREVIEW_KIND,
        "metadata": {"generateName": f"{start}-"},
        "spec": {
            "refresh": options.name,
            "ref": ref,
            "variables": variables,
            "select": select,
            "allow": allow,
            **{field: value for field, value in given.items() if value is not None},
        },
    }


@dataclass(frozen=True)
class _Watcher:
    """Follows one preview, and prints what it does to standard error."""

    kubectl: Kubectl
    name: str
    interval: float = 1.0
    """Seconds between two polls."""

    def wait(self, timeout: float) -> PreviewStatus:
        """Return the status of the finished preview. Raise CliError after `timeout` seconds."""
        end, printed = time.monotonic() + timeout, ""
        while time.monotonic() < end:
            status = self._status()
            if status.has_ended:
                return status
            line = f"{status.state}: {status.message}" if status.state else "waiting for the operator"
            if line != printed:
                print(one_line(line), file=sys.stderr, flush=True)
                printed = line
            time.sleep(self.interval)
        raise CliError(f"timed out; the preview goes on: kubectl get refreshpreview {self.name}", TIMED_OUT)

    def _status(self) -> PreviewStatus:
        text = self.kubectl("get", PREVIEWS, self.name, "-o", "jsonpath={.status}")
        try:
            return PreviewStatus.model_validate(object_of(text.encode()) if text.strip() else {}, extra="ignore")
        except ValidationError as error:
            raise incompatible(self.name, error) from None


def _finished(options: argparse.Namespace, name: str, status: PreviewStatus) -> int:
    """Print the result of a finished preview; return the exit code."""
    if options.output == "json":
        found = {"preview": name, **status.model_dump(mode="json", by_alias=True, exclude_none=True)}
        print(plain(json.dumps(found, indent=2, ensure_ascii=False)))
    elif status.state is PreviewState.FAILED or status.report is None:
        print(plain(f"preview {name} failed: {status.message}"), file=sys.stderr)
    else:
        revisions = f"{status.short_revision} compared with {short_revision(status.base_revision or '')}, which is live"
        image = f", built by {options.image}" if options.image else ""
        print(plain(f"{options.name}: {revisions}{image}\n\n{_REPORTS[options.output](status.report)}"))
    if status.state is PreviewState.FAILED:
        return 1
    return DIFFERS if status.unexpected else 0
