"""The kinds of objects that the operator uses, with their paths in the API."""

from dataclasses import dataclass
from typing import Final

from refresh_api import names


@dataclass(frozen=True)
class Kind:
    """A kind and its path in the API."""

    name: str
    prefix: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of a collection (of all namespaces if none is given) or of one object."""
        parts = [self.prefix, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/" + "/".join(part for part in parts if part)

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.prefix.split("/")[1] if self.prefix.startswith("apis/") else ""

    @property
    def version(self) -> str:
        """The API version."""
        return self.prefix.rpartition("/")[2]


REFRESHES: Final = Kind(names.KIND, f"apis/{names.GROUP}/{names.VERSION}", names.PLURAL)
PREVIEWS: Final = Kind(names.PREVIEW_KIND, f"apis/{names.GROUP}/{names.VERSION}", names.PREVIEW_PLURAL)
CRONJOBS: Final = Kind("CronJob", "apis/batch/v1", "cronjobs")
JOBS: Final = Kind("Job", "apis/batch/v1", "jobs")
SERVICE_ACCOUNTS: Final = Kind("ServiceAccount", "api/v1", "serviceaccounts")
ROLES: Final = Kind("Role", "apis/rbac.authorization.k8s.io/v1", "roles")
ROLE_BINDINGS: Final = Kind("RoleBinding", "apis/rbac.authorization.k8s.io/v1", "rolebindings")
PODS: Final = Kind("Pod", "api/v1", "pods")
SECRETS: Final = Kind("Secret", "api/v1", "secrets")
CONFIGMAPS: Final = Kind("ConfigMap", "api/v1", "configmaps")
EVENTS: Final = Kind("Event", "api/v1", "events")
NAMESPACES: Final = Kind("Namespace", "api/v1", "namespaces")
LEASES: Final = Kind("Lease", "apis/coordination.k8s.io/v1", "leases")
MANAGED: Final = {kind.name: kind for kind in (CRONJOBS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)}
"""The kinds of the managed objects."""
RECONCILED: Final = (REFRESHES, PREVIEWS)
"""The kinds that users create."""
WATCHED: Final = (*RECONCILED, CRONJOBS, JOBS, PODS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
"""The watched kinds; others than RECONCILED are selected by the label with the refresh's name."""
