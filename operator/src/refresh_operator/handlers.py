"""What kopf watches for us. An event only says which refresh to look at; all else is observed afresh."""

from datetime import timedelta
from typing import Final

import kopf

from refresh_api.names import GROUP, PLURAL, REFRESH_LABEL, VERSION
from refresh_operator.agenda import Agenda
from refresh_operator.names import Ref

BELONGINGS: Final = (
    ("batch", "v1", "cronjobs"),
    ("batch", "v1", "jobs"),
    ("", "v1", "pods"),
    ("", "v1", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
)
"""What belongs to refreshes, and is told by the label with the refresh's name."""
SETTLE: Final = timedelta(milliseconds=100)
"""What comes of one change comes in several events: a Job, its pod, their states. They are answered together."""


def registry_of(agenda: Agenda) -> kopf.OperatorRegistry:
    """Return the handlers; they put refreshes on the agenda."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def refresh_changed(namespace: str | None, name: str | None, **_: object) -> None:
        agenda.add(Ref(namespace or "", name or ""))

    async def belonging_changed(namespace: str | None, labels: kopf.Labels, **_: object) -> None:
        if refresh := labels.get(REFRESH_LABEL):
            agenda.add(Ref(namespace or "", refresh), SETTLE)

    for group, version, plural in BELONGINGS:
        kopf.on.event(group, version, plural, registry=registry, id=f"{plural}_changed")(belonging_changed)

    @kopf.on.login(registry=registry)
    def login(settings: kopf.OperatorSettings, **_: object) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)

    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it watches, and writes nothing onto any object."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/none"
    settings.persistence.progress_storage = kopf.StatusProgressStorage(name="none", field="status.none")
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 240
    settings.networking.request_timeout = 30
    settings.execution.max_workers = 1
    for group, version, plural in BELONGINGS:
        settings.watching.label_selectors[(group, version, plural)] = REFRESH_LABEL
    return settings
