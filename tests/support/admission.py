"""What the operator's token may do under the chart's admission policy: the token, and changes of the objects that it creates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from support.operator_harness import OperatorHarness

Json = dict[str, Any]
ACCOUNT = "op-dashboard-refresh"
"""The operator's ServiceAccount."""
POD = {"restartPolicy": "Never", "containers": [{"name": "runner", "image": "refresh-runner:test", "args": ["run"]}]}


@dataclass
class Token:
    """The operator's token in its namespace, for dry runs only."""

    operator: OperatorHarness
    http: httpx.Client

    def answer(self, method: str, plural: str, name: str = "", body: Json | None = None) -> httpx.Response:
        """What the API server says."""
        path = self.operator.api.path_of(self.operator.namespace, plural, name)
        return self.http.request(method, path, json=body, params={"dryRun": "All"})


def own(token: Token, plural: str, name: str) -> Json:
    """An object of the refresh as it is, to be made once more."""
    found = token.operator.api.get(token.operator.namespace, plural, name)
    assert found
    kept = ("labels", "annotations", "ownerReferences")
    metadata = {"name": f"{name}-2" if plural == "cronjobs" else name} | {each: found["metadata"][each] for each in kept}
    return {key: value for key, value in found.items() if key in ("apiVersion", "kind", "spec", "rules", "roleRef", "subjects")} | {
        "metadata": metadata
    }


def template_of(body: Json) -> Json:
    spec: Json = body["spec"].get("jobTemplate", {"spec": body["spec"]})["spec"]["template"]
    return spec


def pod(**changes: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"].update(changes)


def container(**changes: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["containers"][0].update(changes)


def volume(**source: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["volumes"].append({"name": "more", **source})


def secured(**changes: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["containers"][0]["securityContext"].update(changes)


def variable(**content: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["containers"][0]["env"].append(content)


def unlabelled_pods(body: Json) -> None:
    template_of(body)["metadata"]["labels"] = {"app": "x"}


def fetch(**changes: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["initContainers"][0].update(changes)


def fetch_secured(**changes: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["initContainers"][0]["securityContext"].update(changes)


def fetch_variable(**content: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"]["initContainers"][0]["env"].append(content)


def address(url: str) -> Callable[[Json], None]:
    """Fetch from another address."""

    def change(body: Json) -> None:
        (variable,) = (each for each in template_of(body)["spec"]["initContainers"][0]["env"] if each["name"] == "REFRESH_PROJECT_URL")
        variable["value"] = url

    return change
