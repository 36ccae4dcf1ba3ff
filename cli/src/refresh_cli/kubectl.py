"""Accesses the cluster through the kubectl binary, so that contexts, logins and permissions are the user's."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from refresh_api.model import time_text
from refresh_api.names import GROUP, PLURAL, PREVIEW_PLURAL, RESET_AT
from refresh_api.objects import object_of
from refresh_api.plain import plain
from refresh_api.status import RefreshStatus

RESOURCE = f"{PLURAL}.{GROUP}"
PREVIEWS = f"{PREVIEW_PLURAL}.{GROUP}"
_OUTPUT = 'jsonpath={.metadata}{"\\n"}{.status}'
_REQUIRED_PERMISSIONS = (
    f"`run`, `cancel`, `suspend`, `resume`, `rollback` and `notify` need get and patch on {RESOURCE}; "
    f"`preview` needs create and get on {PREVIEWS}; "
    "`status`, `history` and `next` need get; `logs` needs get on pods/log, and get and list on pods; "
    f"`artifacts` needs get on {RESOURCE}, list on services, and get on services/proxy."
)


class CliError(Exception):
    """A command failed; the message is printed, and `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    generation: int = 0
    annotations: dict[str, str] = {}


class RefreshView(BaseModel):
    """Metadata and status of a refresh. Fields that a newer version added are ignored."""

    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata
    status: RefreshStatus = RefreshStatus()


@dataclass(frozen=True)
class Kubectl:
    """kubectl with its global options, which select cluster and namespace."""

    options: tuple[str, ...] = ()
    program: str = "kubectl"

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Return kubectl's output. Raise CliError with its error message."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, errors="replace", check=False, input=stdin)
        if done.returncode:
            raise CliError(_with_permission_hint(done.stderr.strip() or done.stdout.strip()))
        return done.stdout

    def stream(self, *arguments: str) -> int:
        """Print kubectl's output line by line as it arrives; return the exit code."""
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, text=True, errors="replace") as process:
            for line in process.stdout or ():
                print(plain(line), end="", flush=True)
        return process.returncode

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [self.program, *self.options, *arguments]

    def refresh(self, name: str) -> RefreshView:
        """Return a refresh. Raise CliError if it does not exist."""
        # not -o json: kubectl would indent a deeply nested spec to hundreds of megabytes
        return parse_refresh(self("get", RESOURCE, name, "-o", _OUTPUT), name)

    def annotate(self, name: str, values: dict[str, str | None]) -> None:
        """Set annotations of a refresh; None removes the annotation."""
        self._patch(name, {"metadata": {"annotations": values}})

    def suspend(self, name: str, until: datetime | None) -> None:
        """Suspend scheduled runs, for good or until a time."""
        spec: dict[str, object] = {"suspendUntil": time_text(until)} if until else {"suspend": True}
        self._patch(name, {"spec": spec})

    def resume(self, name: str, moment: str) -> None:
        """Resume scheduled runs, however this refresh was suspended. `moment` must differ from every earlier value."""
        self._patch(name, {"spec": {"suspend": False, "suspendUntil": None}, "metadata": {"annotations": {RESET_AT: moment}}})

    def names(self) -> Sequence[str]:
        """Return the names of the refreshes in the namespace."""
        return [word.rpartition("/")[2] for word in self("get", RESOURCE, "-o", "name").split()]

    def _patch(self, name: str, body: object) -> None:
        self("patch", RESOURCE, name, "--type=merge", f"--patch={json.dumps(body)}")


def parse_refresh(text: str, name: str) -> RefreshView:
    """Return a refresh from two lines of JSON: metadata and status. Raise CliError if they cannot be parsed."""
    metadata, _, status = text.partition("\n")
    try:
        found = {"metadata": object_of(metadata.encode()), "status": object_of(status.encode()) if status.strip() else {}}
        return RefreshView.model_validate(found, extra="ignore")
    except ValidationError as error:
        raise incompatible(name, error) from None
    except ValueError as error:
        raise CliError(f"cannot parse kubectl's output for {name}: {error}") from None


def incompatible(name: str, error: ValidationError) -> CliError:
    """Return the error for an object that another version has written: its first field that cannot be parsed."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return CliError(f"{name} was written by an incompatible version: {where}: {first['msg']}")


def _with_permission_hint(message: str) -> str:
    """Return kubectl's error message; if permission is denied, with the permissions that the plugin needs."""
    if "Forbidden" not in message and "forbidden" not in message:
        return message
    return f"{message}\nRequired permissions: {_REQUIRED_PERMISSIONS}"
