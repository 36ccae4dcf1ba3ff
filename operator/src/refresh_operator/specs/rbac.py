"""The ServiceAccount, Role and RoleBinding of the pods of a refresh or a preview; pure."""

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_operator.names import rbac_name
from refresh_operator.specs.metadata import managed
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import Refresh

_RBAC = "rbac.authorization.k8s.io"


def rbac(refresh: Refresh) -> tuple[Json, ...]:
    """Return the ServiceAccount, Role and RoleBinding. Pods may patch the status of their own refresh and nothing else."""
    name = rbac_name(refresh.metadata.name)
    bodies = status_permissions(name, api.PLURAL, refresh.metadata)
    return tuple(managed(refresh, version, kind, name, body) for version, kind, body in bodies)


def status_permissions(account: str, plural: str, target: Metadata) -> tuple[tuple[str, str, Json], ...]:
    """Return API version, kind and body of a ServiceAccount, Role and RoleBinding, all called `account`.

    They allow patching the status of the target, and nothing else.
    """
    rule: Json = {"apiGroups": [api.GROUP], "resources": [f"{plural}/status"], "resourceNames": [target.name], "verbs": ["patch"]}
    binding: Json = {
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": target.namespace}],
    }
    return (
        ("v1", "ServiceAccount", {"automountServiceAccountToken": False}),
        (f"{_RBAC}/v1", "Role", {"rules": [rule]}),
        (f"{_RBAC}/v1", "RoleBinding", binding),
    )
