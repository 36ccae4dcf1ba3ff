"""Leader election among several operators."""

from datetime import timedelta

import pytest

from refresh_operator.errors import SettingsError
from refresh_operator.kube.leader_election import DURATION, LeaseAction, next_action
from refresh_operator.settings import LeaseRef, settings_from


@pytest.mark.parametrize(
    ("holder", "was_mine", "unchanged", "claim"),
    [
        ("", False, 0, LeaseAction.ACQUIRE),
        ("other", False, 9.9, LeaseAction.WAIT),
        ("other", False, 10, LeaseAction.ACQUIRE),
        ("me", False, 0, LeaseAction.ACQUIRE),
        ("me", True, 60, LeaseAction.ACQUIRE),
        ("other", True, 0, LeaseAction.LOST),
        ("other", True, 60, LeaseAction.LOST),
        ("", True, 60, LeaseAction.LOST),
    ],
    ids=[
        "given back",
        "renewed recently",
        "not renewed in its time",
        "this pod's own, before it was restarted",
        "still ours after the API server was away",
        "taken by another one",
        "taken, and not renewed since: what the other one did is unknown",
        "taken, and given back since",
    ],
)
def test_the_next_action_follows_from_holder_and_age_of_the_lease(holder, was_mine, unchanged, claim):
    """An operator that has lost the Lease must exit, since its writes could conflict with the new leader's."""
    assert next_action(holder, "me", was_leader=was_mine, unchanged=timedelta(seconds=unchanged), duration=DURATION) is claim


def test_leader_election_needs_lease_and_pod_name():
    """It is off by default; half of the settings is an error."""
    good = {"WATCH_NAMESPACES": "a", "RUNNER_IMAGE": "i"}
    assert settings_from(good).lease is None
    lease = {"OPERATOR_NAMESPACE": "n", "LEASE_NAME": "l", "POD_NAME": "p"}
    assert settings_from({**good, **lease}).lease == LeaseRef("n", "l", "p")
    for missing in ("POD_NAME", "OPERATOR_NAMESPACE"):
        with pytest.raises(SettingsError, match=missing):
            settings_from({**good, **lease, missing: ""})
