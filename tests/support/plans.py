"""Run requests and plans of the samples, for tests of what a run plans."""

from datetime import date
from pathlib import Path

from refresh_api.run_request import RunRequest
from refresh_runner.model.loader import run_request_from_file
from refresh_runner.model.plan import Attempt, Plan, plan_for

SAMPLES = Path(__file__).parents[2] / "deploy" / "samples"
TODAY = date(2026, 11, 23)
LAST = Attempt("phase2-1", number=3, of=3)


def run_request(name: str = "phase2") -> RunRequest:
    """Return a sample's run request."""
    return run_request_from_file(SAMPLES / f"{name}.yaml")


def plan(attempt: Attempt = LAST, name: str = "phase2") -> Plan:
    """Return a sample's plan."""
    return plan_for(run_request(name), attempt, TODAY)
