"""The operator's settings, from the environment variables that its chart sets; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from refresh_api.names import WEBHOOK_ALLOW_HTTP_ENV
from refresh_api.project import Git, Project, SourceRef
from refresh_api.values import duration
from refresh_operator.code_policy import NO_CODE, CodeRules
from refresh_operator.dependency_policy import NO_DEPENDENCIES, DependencyRules
from refresh_operator.errors import SettingsError
from refresh_operator.secret_policy import ANY_SECRET, SecretPolicy, SecretRules

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class LeaseRef:
    """The Lease for leader election, and this operator's identity."""

    namespace: str
    name: str
    holder: str


@dataclass(frozen=True)
class PauseRef:
    """The ConfigMap that pauses all refreshes while it exists."""

    namespace: str
    name: str


@dataclass(frozen=True)
class CaBundle:
    """CA certificates for runs: a key of a ConfigMap that exists in the namespace of every refresh."""

    config_map: str
    key: str


@dataclass(frozen=True)
class Settings:
    """The settings of one operator process."""

    namespaces: tuple[str, ...]
    """Namespaces to watch. Empty: all namespaces."""
    runner_image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    run_url_template: str = ""
    """URL of a run for notifications, with {namespace}, {name} and {run}. Empty: no link."""
    resync: timedelta = timedelta(minutes=5)
    """Interval at which all objects are listed, in case a watch has missed a change."""
    recheck: timedelta = timedelta(seconds=15)
    """Interval at which a refresh with a problem is reconciled, since the cause may not be watched, such as a Secret."""
    lost_after: timedelta = timedelta(minutes=3)
    """Heartbeat timeout of runners, which report one every 15 s."""
    health_endpoint: str = ""
    """URL of the probes, for example http://0.0.0.0:8080/healthz. Empty: no probes."""
    log_level: str = "INFO"
    lease: LeaseRef | None = None
    """None: neither leader election nor claims of namespaces."""
    claim_duration: timedelta = timedelta(minutes=1)
    """After what time without a renewal another release may claim a namespace. An upgrade takes less."""
    pause: PauseRef | None = None
    """None: no global pause."""
    ca_bundle: CaBundle | None = None
    """None: runs use the certificates of their image."""
    proxies: tuple[tuple[str, str], ...] = ()
    """Names and values of the proxy variables for runs."""
    otlp_endpoint: str = ""
    """Collector to which runs send traces, unless they name another one. Empty: none."""
    secret_rules: SecretRules = ANY_SECRET
    """Which Secrets refreshes may use."""
    code_rules: CodeRules = NO_CODE
    """Which images and projects refreshes may name."""
    dependency_rules: DependencyRules = NO_DEPENDENCIES
    """On refreshes of which namespaces refreshes may depend."""
    package_hub: str = ""
    """Address of the hub from which packages of dbt projects are downloaded. Empty: dbt's own."""
    notifies: bool = True
    """Whether the operator sends notifications of runs whose runner did not report. It then reads the Secrets of channels."""
    notification_window: timedelta = timedelta(minutes=5)
    """How long refreshes that fail for the same cause as a first one are collected for one message."""
    allow_http: bool = False
    """Whether webhooks may use plain HTTP."""

    def image_of(self, image: str | None) -> str:
        """Return the image of a refresh's runs: its own if that is allowed. The CronJob of a refresh whose image is not is suspended."""
        return image if image and not self.code_rules.image_denial(image) else self.runner_image

    def origin_of(self, project: Project | None) -> Git | SourceRef | None:
        """Return where a refresh's project is fetched from; None if it is in the image, or may not be fetched: no run starts without it."""
        return project.origin if project and not self.code_rules.project_denial(project) else None


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raise SettingsError, which names the variable that is missing or invalid."""
    clusterwide = environment.get("WATCH_CLUSTER_WIDE", "false") == "true"
    namespaces = _split(environment.get("WATCH_NAMESPACES", ""))
    if not clusterwide and not namespaces:
        raise SettingsError("WATCH_NAMESPACES: required unless WATCH_CLUSTER_WIDE=true")
    if not environment.get("RUNNER_IMAGE"):
        raise SettingsError("RUNNER_IMAGE: required")
    return Settings(
        namespaces=() if clusterwide else namespaces,
        runner_image=environment["RUNNER_IMAGE"],
        image_pull_policy=environment.get("RUNNER_IMAGE_PULL_POLICY", "") or Settings.image_pull_policy,
        image_pull_secrets=_split(environment.get("RUNNER_IMAGE_PULL_SECRETS", "")),
        run_url_template=environment.get("RUN_URL_TEMPLATE", ""),
        resync=_duration(environment, "RESYNC", Settings.resync),
        recheck=_duration(environment, "RECHECK", Settings.recheck),
        lost_after=_duration(environment, "LOST_AFTER", Settings.lost_after),
        health_endpoint=environment.get("HEALTH_ENDPOINT", ""),
        log_level=environment.get("LOG_LEVEL", "") or Settings.log_level,
        lease=_lease(environment),
        claim_duration=_duration(environment, "CLAIM_DURATION", Settings.claim_duration),
        pause=_pause(environment),
        ca_bundle=CaBundle(name, environment.get("CA_KEY", "") or "ca.crt") if (name := environment.get("CA_CONFIGMAP", "")) else None,
        proxies=tuple((name, environment[name]) for name in _PROXIES if environment.get(name)),
        otlp_endpoint=environment.get("RUNNER_OTLP_ENDPOINT", ""),
        secret_rules=_secret_rules(environment),
        code_rules=CodeRules(
            images=_split(environment.get("RUNNER_ALLOWED_IMAGES", "")),
            urls=_split(environment.get("PROJECTS_ALLOWED_URLS", "")),
            sources=_split(environment.get("PROJECTS_ALLOWED_SOURCES", "")),
        ),
        dependency_rules=DependencyRules(_split(environment.get("DEPENDENCIES_ALLOWED_NAMESPACES", ""))),
        package_hub=environment.get("PROJECTS_PACKAGE_HUB", ""),
        notifies=environment.get("NOTIFY", "") != "false",
        notification_window=_duration(environment, "NOTIFICATION_WINDOW", Settings.notification_window),
        allow_http=environment.get(WEBHOOK_ALLOW_HTTP_ENV, "") == "true",
    )


def _secret_rules(environment: Mapping[str, str]) -> SecretRules:
    policy, allowed = environment.get("SECRETS_POLICY", "") or SecretPolicy.ANY, _split(environment.get("SECRETS_ALLOWED", ""))
    if policy not in set(SecretPolicy):
        raise SettingsError(f"SECRETS_POLICY: must be one of {', '.join(SecretPolicy)}")
    return SecretRules(SecretPolicy(policy), allowed)


def _lease(environment: Mapping[str, str]) -> LeaseRef | None:
    name, holder = environment.get("LEASE_NAME", ""), environment.get("POD_NAME", "")
    if name and not holder:
        raise SettingsError("LEASE_NAME: requires POD_NAME")
    return LeaseRef(_operator_namespace(environment, "LEASE_NAME"), name, holder) if name else None


def _pause(environment: Mapping[str, str]) -> PauseRef | None:
    name = environment.get("PAUSE_CONFIGMAP", "")
    return PauseRef(_operator_namespace(environment, "PAUSE_CONFIGMAP"), name) if name else None


def _operator_namespace(environment: Mapping[str, str], required_by: str) -> str:
    if not environment.get("OPERATOR_NAMESPACE"):
        raise SettingsError(f"{required_by}: requires OPERATOR_NAMESPACE")
    return environment["OPERATOR_NAMESPACE"]


def _split(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _duration(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    if not environment.get(name):
        return default
    try:
        return duration(environment[name])
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
