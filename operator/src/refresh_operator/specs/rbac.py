"""The ServiceAccount, Role and RoleBinding of a refresh's pods; pure."""

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_operator.names import rbac_name
from refresh_operator.specs.metadata import managed
from refresh_operator.state.refresh import Refresh


def rbac(refresh: Refresh) -> tuple[Json, Json, Json]:
    """Return the ServiceAccount, Role and RoleBinding. Pods may patch the status of their own refresh and nothing else."""
    name = rbac_name(refresh.metadata.name)
    rule: Json = {
        "apiGroups": [api.GROUP],
        "resources": [f"{api.PLURAL}/status"],
        "resourceNames": [refresh.metadata.name],
        "verbs": ["patch"],
    }
    binding: Json = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": refresh.metadata.namespace}],
    }
    return (
        managed(refresh, "v1", "ServiceAccount", name, {"automountServiceAccountToken": False}),
        managed(refresh, "rbac.authorization.k8s.io/v1", "Role", name, {"rules": [rule]}),
        managed(refresh, "rbac.authorization.k8s.io/v1", "RoleBinding", name, binding),
    )
