"""What the operator is told at its start, by its chart's environment variables; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from refresh_api.names import WEBHOOK_ALLOW_HTTP_ENV
from refresh_api.values import duration
from refresh_operator.errors import SettingsError
from refresh_operator.secret_policy import ANY_SECRET, SecretPolicy, SecretRules

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class LeaseRef:
    """The Lease whose holder works, and who this operator is there."""

    namespace: str
    name: str
    holder: str


@dataclass(frozen=True)
class PauseRef:
    """The ConfigMap that pauses everything while it is there."""

    namespace: str
    name: str


@dataclass(frozen=True)
class CaBundle:
    """Certificates that runs trust: a key of a ConfigMap, which is in every refresh's namespace."""

    config_map: str
    key: str


@dataclass(frozen=True)
class Settings:
    """One operator's settings; fixed while it runs."""

    namespaces: tuple[str, ...]
    """Namespaces to watch; none: the whole cluster."""
    runner_image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    run_url_template: str = ""
    """Link to a run for notifications, with {namespace}, {name} and {run}; empty: there is none."""
    resync: timedelta = timedelta(minutes=5)
    """After this time everything is looked at, whatever the events said."""
    recheck: timedelta = timedelta(seconds=15)
    """After this time a refresh is looked at again that waits for something which is not watched, such as a Secret."""
    lost_after: timedelta = timedelta(minutes=3)
    """A runner that shows no sign of life for so long (it gives one every 15 s) is lost, though its pod claims to run."""
    health_endpoint: str = ""
    """Where the probes are answered, for example http://0.0.0.0:8080/healthz; empty: nowhere."""
    log_level: str = "INFO"
    lease: LeaseRef | None = None
    """None: this operator is the only one, and asks nobody."""
    pause: PauseRef | None = None
    """None: nothing pauses everything."""
    ca_bundle: CaBundle | None = None
    """None: runs trust what their image trusts."""
    proxies: tuple[tuple[str, str], ...] = ()
    """Names and values of the variables by which runs find their way out."""
    secret_rules: SecretRules = ANY_SECRET
    """Which Secrets refreshes may use."""
    notifies: bool = True
    """Whether the operator tells of runs that died silently; it then reads the Secrets of channels, and calls what they name."""
    allow_http: bool = False
    """Whether webhooks may be called by plain HTTP, too."""


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Return the settings; SettingsError names the variable that is missing or wrong."""
    clusterwide = environment.get("WATCH_CLUSTER_WIDE", "false") == "true"
    namespaces = _words(environment.get("WATCH_NAMESPACES", ""))
    if not clusterwide and not namespaces:
        raise SettingsError("WATCH_NAMESPACES: name the namespaces to watch, or set WATCH_CLUSTER_WIDE=true")
    if not environment.get("RUNNER_IMAGE"):
        raise SettingsError("RUNNER_IMAGE: name the image that runs start")
    return Settings(
        namespaces=() if clusterwide else namespaces,
        runner_image=environment["RUNNER_IMAGE"],
        image_pull_policy=environment.get("RUNNER_IMAGE_PULL_POLICY", "") or Settings.image_pull_policy,
        image_pull_secrets=_words(environment.get("RUNNER_IMAGE_PULL_SECRETS", "")),
        run_url_template=environment.get("RUN_URL_TEMPLATE", ""),
        resync=_duration(environment, "RESYNC", Settings.resync),
        recheck=_duration(environment, "RECHECK", Settings.recheck),
        lost_after=_duration(environment, "LOST_AFTER", Settings.lost_after),
        health_endpoint=environment.get("HEALTH_ENDPOINT", ""),
        log_level=environment.get("LOG_LEVEL", "") or Settings.log_level,
        lease=_lease(environment),
        pause=_pause(environment),
        ca_bundle=CaBundle(name, environment.get("CA_KEY", "") or "ca.crt") if (name := environment.get("CA_CONFIGMAP", "")) else None,
        proxies=tuple((name, environment[name]) for name in _PROXIES if environment.get(name)),
        secret_rules=_secret_rules(environment),
        notifies=environment.get("NOTIFY", "") != "false",
        allow_http=environment.get(WEBHOOK_ALLOW_HTTP_ENV, "") == "true",
    )


def _secret_rules(environment: Mapping[str, str]) -> SecretRules:
    policy, allowed = environment.get("SECRETS_POLICY", "") or SecretPolicy.ANY, _words(environment.get("SECRETS_ALLOWED", ""))
    if policy not in set(SecretPolicy):
        raise SettingsError(f"SECRETS_POLICY: name one of {', '.join(SecretPolicy)}")
    return SecretRules(SecretPolicy(policy), allowed)


def _lease(environment: Mapping[str, str]) -> LeaseRef | None:
    name, holder = environment.get("LEASE_NAME", ""), environment.get("POD_NAME", "")
    if name and not holder:
        raise SettingsError("LEASE_NAME: POD_NAME is needed beside it")
    return LeaseRef(_home(environment, "LEASE_NAME"), name, holder) if name else None


def _pause(environment: Mapping[str, str]) -> PauseRef | None:
    name = environment.get("PAUSE_CONFIGMAP", "")
    return PauseRef(_home(environment, "PAUSE_CONFIGMAP"), name) if name else None


def _home(environment: Mapping[str, str], needed_by: str) -> str:
    if not environment.get("OPERATOR_NAMESPACE"):
        raise SettingsError(f"{needed_by}: OPERATOR_NAMESPACE is needed beside it")
    return environment["OPERATOR_NAMESPACE"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _duration(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    if not environment.get(name):
        return default
    try:
        return duration(environment[name])
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
