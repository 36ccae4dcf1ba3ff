"""The API server permanently rejects the operator's token."""

from __future__ import annotations

import json

from support.operator_harness import OperatorHarness

ACCOUNT = "op-dashboard-refresh"
REFUSED = 100
"""Seconds: the API server remembers tokens for ten seconds, and the operator waits for a minute."""


def write_token(operator: OperatorHarness, secret: str) -> None:
    """Write a token into the operator's kubeconfig that is valid as long as a Secret exists."""
    bound = ["--bound-object-kind=Secret", f"--bound-object-name={secret}", "--duration=1h"]
    token = operator.kubectl("create", "token", ACCOUNT, *bound).strip()
    kubeconfig = operator.home / f"{operator.namespace}.kubeconfig"
    config = json.loads(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig.write_text(json.dumps(config))


def test_an_operator_whose_token_is_refused_ends(fresh_operator: OperatorHarness) -> None:
    """Otherwise it would retry forever and do nothing. Its Deployment restarts it. The control: until then, it works."""
    fresh_operator.create_secret("bound", {})
    write_token(fresh_operator, "bound")
    fresh_operator.start()
    fresh_operator.create_refresh("before")
    fresh_operator.wait_until_ready("before")
    fresh_operator.api.delete(fresh_operator.namespace, "secrets", "bound")
    assert fresh_operator.wait(REFUSED) == 1
    assert "the API server refuses the operator's credentials" in fresh_operator.log.read_text()
