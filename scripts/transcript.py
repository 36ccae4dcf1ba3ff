"""Write the transcript in docs/using.md from a successful and a failed run on the demo's cluster. Requires `make demo`."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from cluster.seam import cluster_of
from demo import PHASE2
from marked import between
from support.eventually import eventually
from support.installation import Installation

PAGE = Path(__file__).resolve().parent.parent / "docs/using.md"


class Transcript:
    """Commands and their output, as a user sees them."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.lines: list[str] = []

    def type(self, comment: str, command: str) -> None:
        """Run a command in a shell with the demo's kubectl and record its output."""
        folder = Path(self.installation.kubectl.program).parent
        path = f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = os.environ | {"KUBECONFIG": str(self.installation.kubectl.kubeconfig), "PATH": path}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=True)
        self.lines += [f"$ {command}    # {comment}", done.stdout.rstrip().expandtabs(12), ""]

    def request(self, token: str) -> None:
        """Request a run."""
        self.installation.request_run(PHASE2, token)

    def text(self) -> str:
        """Return the transcript as a Markdown code block."""
        return "```console transcript\n" + "\n".join(self.lines).rstrip() + "\n```\n"


def main() -> None:
    """Run once, run again with a source column renamed, then rename the column back and run a third time."""
    installation = Installation.in_cluster(cluster_of("demo"))
    transcript = Transcript(installation)
    stamp = int(time.time())
    transcript.request(f"good-{stamp}")
    eventually(lambda: installation.status(PHASE2).get("phase") == "Running", within=60)
    transcript.type("while a run is active", "kubectl get dashboardrefresh")
    installation.wait_for_run(PHASE2, f"good-{stamp}")
    transcript.type("after the run", "kubectl get dashboardrefresh")
    installation.psql("alter table sigeti.indemnisations rename column montant_du to montant")
    try:
        transcript.request(f"bad-{stamp}")
        installation.wait_for_run(PHASE2, f"bad-{stamp}")
    finally:
        installation.psql("alter table sigeti.indemnisations rename column montant to montant_du")
    transcript.type("after a source column was renamed", f"kubectl get dr {PHASE2}")
    transcript.type("why", f"kubectl get dr {PHASE2} -o jsonpath='{{.status.message}}'")
    steps = '{range .status.run.steps[*]}{.name}{"\\t"}{.state}{"\\t"}{.message}{"\\n"}{end}'
    transcript.type("which steps", f"kubectl get dr {PHASE2} -o jsonpath='{steps}'")
    transcript.request(f"fixed-{stamp}")
    installation.wait_for_run(PHASE2, f"fixed-{stamp}")
    transcript.type("after the column was renamed back and a run requested", f"kubectl get dr {PHASE2}")
    PAGE.write_text(between(PAGE.read_text(), "transcript", transcript.text()))
    print(f"wrote docs/{PAGE.name}")


if __name__ == "__main__":
    main()
