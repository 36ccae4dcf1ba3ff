"""Which Secrets a refresh may use; pure.

Without a policy, anybody who may write a refresh could send any Secret of its namespace to any address.
"""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from refresh_api.names import ALLOW_LABEL
from refresh_api.spec import RefreshSpec


class SecretPolicy(StrEnum):
    """How the Secrets that refreshes may use are selected."""

    ANY = "Any"
    """Every Secret of their namespace."""
    LABELLED = "Labelled"
    """Secrets with the label."""
    LISTED = "Listed"
    """Secrets whose names are listed."""


@dataclass(frozen=True)
class SecretRules:
    """Which Secrets refreshes may use."""

    policy: SecretPolicy = SecretPolicy.ANY
    allowed: tuple[str, ...] = ()
    """Names or patterns with * and ?, for the policy Listed."""

    def denial(self, name: str, field: str, labels: dict[str, str] | None) -> str | None:
        """Return why a field may not name a Secret, or None if it may. `labels` is None if the Secret does not exist."""
        if self.policy is SecretPolicy.LISTED and not any(fnmatchcase(name, pattern) for pattern in self.allowed):
            return f"Secret {name} ({field}) is not allowed: not listed in secrets.allowed of the operator's chart"
        if self.policy is SecretPolicy.LABELLED and (labels or {}).get(ALLOW_LABEL) != "true":
            why = "missing label" if labels is not None else "no such Secret with the label"
            return f"Secret {name} ({field}) is not allowed: {why} {ALLOW_LABEL}=true (secrets.policy of the operator's chart)"
        return None


ANY_SECRET: Final = SecretRules()
"""Every Secret may be used."""


def secret_uses(spec: RefreshSpec) -> dict[str, str]:
    """Return the Secrets that a spec names, each with the first field that names it."""
    found = {spec.warehouse.secret_ref.name: "spec.warehouse.secretRef"}
    if spec.project_secret:
        found.setdefault(spec.project_secret, "spec.project.git.secretRef")
    for field, part in (("cache", spec.cache), ("lineage", spec.lineage)):
        if part and part.authorization_secret_ref:
            found.setdefault(part.authorization_secret_ref.name, f"spec.{field}.authorizationSecretRef")
    if spec.store_secret:
        found.setdefault(spec.store_secret, "spec.artifacts.store.s3.secretRef")
    if spec.tracing:
        found.setdefault(spec.tracing.headers_secret_ref.name, "spec.tracing.headersSecretRef")
    for number, each in enumerate(spec.notifications):
        secret = each.channel.secret
        found.setdefault(secret.name, f"spec.notifications[{number}].{secret.field}")
    for number, pull in enumerate(spec.pod_template.spec.image_pull_secrets if spec.pod_template else []):
        found.setdefault(pull.name, f"spec.podTemplate.spec.imagePullSecrets[{number}]")
    return found
