"""Entry point of `kubectl dashboardrefresh`. It requires permission to get and patch refreshes, and no other access to the operator.

Exit codes: 0 success (`run --wait`: the run succeeded, warned or was skipped), 1 the run or preview failed, 2 the command failed,
3 the preview found a difference that `--allow` does not name, 124 timed out.
"""

import os
import sys
from collections.abc import Sequence

from refresh_api.plain import plain
from refresh_cli.arguments import parser
from refresh_cli.commands import COMMANDS
from refresh_cli.kubectl import CliError, Kubectl


def main(words: Sequence[str] | None = None) -> int:
    """Execute a command; return the exit code."""
    options = parser().parse_args(words)
    global_options = [f"--{name}={value}" for name in ("context", "kubeconfig", "namespace") if (value := getattr(options, name))]
    kubectl = Kubectl(tuple(global_options), os.environ.get("KUBECTL", "kubectl"))
    try:
        return COMMANDS[options.command](kubectl, options)
    except CliError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return error.code
    except FileNotFoundError:
        print("error: kubectl is not in PATH", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
