"""Write the README's transcript anew, from a good and a failed run on the demo's cluster. Needs `make demo` first."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from cluster.seam import cluster_of
from demo import PHASE2
from generate import between
from support.eventually import eventually
from support.installation import Installation

README = Path(__file__).resolve().parent.parent / "README.md"


class Transcript:
    """Commands and what they printed, as a user would see them."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.lines: list[str] = []

    def type(self, comment: str, command: str) -> None:
        """Run a command line in a shell with the demo's kubectl and keep what it prints."""
        folder = Path(self.installation.kubectl.program).parent
        path = f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = os.environ | {"KUBECONFIG": str(self.installation.kubectl.kubeconfig), "PATH": path}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=True)
        self.lines += [f"$ {command}    # {comment}", done.stdout.rstrip().expandtabs(12), ""]

    def ask(self, token: str) -> None:
        """Ask for a run."""
        self.installation.request_run(PHASE2, token)

    def text(self) -> str:
        """The whole, as Markdown."""
        return "```console\n" + "\n".join(self.lines).rstrip() + "\n```\n"


def main() -> None:
    """Run once well and once with a source column renamed, then put the column back and run once more."""
    installation = Installation.in_cluster(cluster_of("demo"))
    transcript = Transcript(installation)
    stamp = int(time.time())
    transcript.ask(f"good-{stamp}")
    eventually(lambda: installation.status(PHASE2).get("phase") == "Running", within=60)
    transcript.type("while a run goes on", "kubectl get dashboardrefresh")
    installation.wait_for_run(PHASE2, f"good-{stamp}")
    transcript.type("after it", "kubectl get dashboardrefresh")
    installation.psql("alter table sigeti.indemnisations rename column montant_du to montant")
    try:
        transcript.ask(f"bad-{stamp}")
        installation.wait_for_run(PHASE2, f"bad-{stamp}")
    finally:
        installation.psql("alter table sigeti.indemnisations rename column montant to montant_du")
    transcript.type("after somebody renamed a column of a source", f"kubectl get dr {PHASE2}")
    transcript.type("why", f"kubectl get dr {PHASE2} -o jsonpath='{{.status.message}}'")
    steps = '{range .status.run.steps[*]}{.name}{"\\t"}{.state}{"\\t"}{.message}{"\\n"}{end}'
    transcript.type("step by step", f"kubectl get dr {PHASE2} -o jsonpath='{steps}'")
    transcript.ask(f"mended-{stamp}")
    installation.wait_for_run(PHASE2, f"mended-{stamp}")
    transcript.type("the column is back, and a run was asked for", f"kubectl get dr {PHASE2}")
    README.write_text(between(README.read_text(), "transcript", transcript.text()))
    print(f"wrote {README.name}")


if __name__ == "__main__":
    main()
