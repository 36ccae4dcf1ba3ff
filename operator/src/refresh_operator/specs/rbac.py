"""The ServiceAccount, Role and RoleBinding of the pods of a refresh or a preview; pure."""

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_api.project import SOURCES_GROUP, SourceRef
from refresh_operator.names import rbac_name
from refresh_operator.specs.metadata import managed
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import Refresh

_RBAC = "rbac.authorization.k8s.io"


def rbac(refresh: Refresh, source: SourceRef | None = None) -> tuple[Json, ...]:
    """Return the ServiceAccount, Role and RoleBinding.

    Pods may patch the status of their own refresh, get the `source` of their project, and nothing else.
    """
    name = rbac_name(refresh.metadata.name)
    bodies = status_permissions(name, api.PLURAL, refresh.metadata, *([_source_rule(source)] if source else []))
    return tuple(managed(refresh, version, kind, name, body) for version, kind, body in bodies)


def _source_rule(source: SourceRef) -> Json:
    return {"apiGroups": [SOURCES_GROUP], "resources": [source.kind.plural], "resourceNames": [source.name], "verbs": ["get"]}


def status_permissions(account: str, plural: str, target: Metadata, *further: Json) -> tuple[tuple[str, str, Json], ...]:
    """Return API version, kind and body of a ServiceAccount, Role and RoleBinding, all called `account`.

    They allow patching the status of the target, what `further` rules allow, and nothing else.
    """
    rule: Json = {"apiGroups": [api.GROUP], "resources": [f"{plural}/status"], "resourceNames": [target.name], "verbs": ["patch"]}
    binding: Json = {
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": target.namespace}],
    }
    return (
        ("v1", "ServiceAccount", {"automountServiceAccountToken": False}),
        (f"{_RBAC}/v1", "Role", {"rules": [rule, *further]}),
        (f"{_RBAC}/v1", "RoleBinding", binding),
    )
