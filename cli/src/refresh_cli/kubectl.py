"""The door to the cluster: kubectl itself, so that contexts, logins and permissions are those of its user."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from refresh_api.model import time_text
from refresh_api.names import GROUP, PLURAL, RESET_AT
from refresh_api.objects import object_of
from refresh_api.plain import plain
from refresh_api.status import RefreshStatus

RESOURCE = f"{PLURAL}.{GROUP}"
_OUTPUT = 'jsonpath={.metadata}{"\\n"}{.status}'
_REQUIRED_PERMISSIONS = (
    f"`run`, `cancel`, `suspend`, `resume` and `rollback` need get and patch on {RESOURCE}; "
    "`status`, `history` and `next` need get; `logs` needs get on pods/log, and get and list on pods; "
    f"`artifacts` needs get on {RESOURCE}, list on services, and get on services/proxy."
)


class CliError(Exception):
    """What can't be done, in words for the user."""

    def __init__(self, says: str, code: int = 2) -> None:
        super().__init__(says)
        self.code = code


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    generation: int = 0
    annotations: dict[str, str] = {}


class RefreshView(BaseModel):
    """A refresh as its user sees it; a status that another version wrote is read as far as it goes."""

    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata
    status: RefreshStatus = RefreshStatus()


@dataclass(frozen=True)
class Kubectl:
    """One cluster and namespace, as kubectl's own options say."""

    options: tuple[str, ...] = ()
    program: str = "kubectl"

    def __call__(self, *words: str) -> str:
        """Return what kubectl prints; CliError with its words where it fails."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise CliError(_with_permission_hint(done.stderr.strip() or done.stdout.strip()))
        return done.stdout

    def stream(self, *words: str) -> int:
        """Print what kubectl prints, line by line, as it comes; return its exit code."""
        with subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, text=True, errors="replace") as process:
            for line in process.stdout or ():
                print(plain(line), end="", flush=True)
        return process.returncode

    def command(self, *words: str) -> list[str]:
        """The whole command line."""
        return [self.program, *self.options, *words]

    def refresh(self, name: str) -> RefreshView:
        """One refresh; CliError if there is none."""
        # not as JSON: kubectl would indent the spec, which of one that is nested deeply makes hundreds of megabytes
        return parse_refresh(self("get", RESOURCE, name, "-o", _OUTPUT), name)

    def annotate(self, name: str, values: dict[str, str | None]) -> None:
        """Set annotations of a refresh; None removes one."""
        self._patch(name, {"metadata": {"annotations": values}})

    def suspend(self, name: str, until: datetime | None) -> None:
        """Switch scheduled runs off, for good or until a moment."""
        spec: dict[str, object] = {"suspendUntil": time_text(until)} if until else {"suspend": True}
        self._patch(name, {"spec": spec})

    def resume(self, name: str, moment: str) -> None:
        """Switch scheduled runs on, whatever of this refresh's own has switched them off; `moment` is a value that was not there before."""
        self._patch(name, {"spec": {"suspend": False, "suspendUntil": None}, "metadata": {"annotations": {RESET_AT: moment}}})

    def names(self) -> Sequence[str]:
        """Names of the refreshes of the namespace."""
        return [word.rpartition("/")[2] for word in self("get", RESOURCE, "-o", "name").split()]

    def _patch(self, name: str, body: object) -> None:
        self("patch", RESOURCE, name, "--type=merge", f"--patch={json.dumps(body)}")


def parse_refresh(text: str, name: str) -> RefreshView:
    """Return a refresh whose metadata and status are these two lines; its spec nobody here reads, whatever its users wrote into it."""
    metadata, _, status = text.partition("\n")
    try:
        found = {"metadata": object_of(metadata.encode()), "status": object_of(status.encode()) if status.strip() else {}}
        return RefreshView.model_validate(found, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CliError(f"{name} was made for another version of this program: {where}: {first['msg']}") from None
    except ValueError as error:
        raise CliError(f"what kubectl says of {name} can't be read: {error}") from None


def _with_permission_hint(says: str) -> str:
    """kubectl's words, and which permission to ask for where one is missing."""
    if "Forbidden" not in says and "forbidden" not in says:
        return says
    return f"{says}\nAsk for the permission that it names. {_REQUIRED_PERMISSIONS}"
