"""The command `refresh-operator`. Only this module reads the environment and the clock."""

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from refresh_operator.app import serve
from refresh_operator.errors import OperatorError, SettingsError
from refresh_operator.observability import logs
from refresh_operator.settings import settings_from


def main() -> int:
    """Run until SIGTERM. Return 2 for an invalid setting, and 1 after an error that requires a restart."""
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        print(f"refresh-operator: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
    kubeconfig = None if in_cluster else Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    try:
        asyncio.run(serve(settings, lambda: datetime.now(UTC).replace(microsecond=0), kubeconfig))
    except OperatorError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
