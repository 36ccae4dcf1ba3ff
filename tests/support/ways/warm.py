"""A process that has imported dbt, plain or with the runner, and forks for each command. This saves seconds of imports.

`python -m support.ways.warm plain|ours SOCKET`; it ends when its standard input is closed.
"""

from __future__ import annotations

import gc
import json
import multiprocessing.util
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

from support.ways.killing import kill_before_last_node
from support.ways.project import put

WITHIN = 180.0
"""Timeout of a command in seconds, for a busy machine."""


KILLED: Final = "killed"
"""Word before the arguments of a runner that is to be killed in the middle of its work."""


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    """As of `subprocess`: -9 for a command that was killed."""
    output: str


class Warm:
    """The client: starts the process and sends it commands, from several threads if need be."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._path = folder / f"{kind}.socket"
        # dbt must not see the variables of the tests' warehouse while it is imported.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DBT_"))}
        self._env = env | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        command = [sys.executable, "-m", "support.ways.warm", kind, str(self._path)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            command, env={**self._env, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n", f"dbt can't be imported ({kind})"

    def __enter__(self) -> Self:
        """Return self; the process is ready."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def run(self, arguments: list[str], folder: Path, env: Mapping[str, str]) -> Done:
        """Run a command line in a folder."""
        output = folder / "output"
        request = {"arguments": arguments, "folder": str(folder), "env": {**self._env, **env}, "output": str(output)}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(WITHIN)
            client.connect(str(self._path))
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = client.makefile().readlines()
        text = output.read_text(errors="replace")
        if arguments[0] == KILLED and not answer:
            return Done(-signal.SIGKILL, text)
        assert answer, f"{' '.join(arguments)} ended without a code:\n{text[-3000:]}"
        return Done(int(answer[0]), text)


def _serve(path: str, act: Callable[[list[str]], int]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        # Let the kernel reap ended children.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        gc.freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            heard, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in heard:
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _execute(client, act)
            client.close()


def _execute(client: socket.socket, act: Callable[[list[str]], int]) -> None:
    """Run one command as if in a process of its own, with its environment, folder and output; then exit."""
    code = 99
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request = json.loads(client.makefile().readline())
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["folder"])
        with Path(request["output"]).open("wb") as output, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = act(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(f"{code}\n".encode())
        # As at the end of a program: release the semaphores of dbt's locks.
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # of the standard library, for every exit but this
        os._exit(0)


def _ours() -> Callable[[list[str]], int]:
    from refresh_runner.dbt.open_project import open_project
    from refresh_runner.dbt.project import Dbt
    from refresh_runner.model.plan import DbtSettings

    Dbt.preload().join()
    with _empty_project() as project, open_project(project / "project", DbtSettings(1, "prod", "dwh", {}), "warm"):
        pass

    def main(arguments: list[str]) -> int:
        # Imported in the forked process, since its start time is that of the import.
        from refresh_runner.__main__ import main

        if arguments[0] == KILLED:
            kill_before_last_node()
            arguments = arguments[1:]
        return main(arguments)

    return main


def _plain() -> Callable[[list[str]], int]:
    import dbt.adapters.postgres  # noqa: F401
    from dbt.cli.main import cli

    def main(arguments: list[str]) -> int:
        """Run the program `dbt`."""
        try:
            cli(arguments, prog_name="dbt")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    with _empty_project() as project:
        assert main(["--quiet", "parse", "--project-dir", str(project / "project"), "--profiles-dir", str(project)]) == 0
    return main


@contextmanager
def _empty_project() -> Iterator[Path]:
    """Create an empty project with a profile; its first parse prepares half a second's worth of caches."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        put(place / "project" / "dbt_project.yml", "name: rien\nprofile: rien\nversion: '1.0.0'\n")
        output = "{type: postgres, host: nowhere.invalid, port: 1, user: personne, password: aucun, dbname: rien, schema: rien}"
        put(place / "profiles.yml", f"rien: {{target: prod, outputs: {{prod: {output}}}}}\n")
        yield place


if __name__ == "__main__":
    _serve(sys.argv[2], {"plain": _plain, "ours": _ours}[sys.argv[1]]())
