"""The causes of failed fetches, recognised in the output of `git`; pure.

git has one exit code for all errors, so its English messages (LC_ALL=C), and those of curl and ssh, are compared with patterns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure

_SECRET_HINT: Final = "see spec.project.git.secretRef"  # noqa: S105 - a hint
_REF_HINT: Final = "see spec.project.git.ref"
_URL_HINT: Final = "see spec.project.git.url"
_PROXY_HINT: Final = "see proxy in the chart's values"


@dataclass(frozen=True)
class _Known:
    """A known error: the pattern that recognises it, its message, and whether another try could succeed."""

    pattern: str
    says: str
    hint: str = ""
    retryable: bool = False


_KNOWN: Final = (
    _Known(r"tunnel failed, response 407|returned error: 407", "the proxy refused the credentials, or requires some", _PROXY_HINT),
    _Known(r"tunnel failed, response 4", "the proxy refuses to connect to the server", _PROXY_HINT),
    _Known(r"tunnel failed", "the proxy cannot connect to the server", _PROXY_HINT, True),
    _Known(r"no space left on device|disk quota exceeded", "the disk is full", "raise spec.resources.limits.ephemeral-storage", True),
    _Known(
        r"not our ref|unadvertised object|not a valid object name|upload-pack: not our|remote error:.*does not exist", "{gone}", _REF_HINT
    ),
    _Known(r"couldn't find remote ref HEAD|remote HEAD refers to nonexistent", "the repository is empty", "commit the dbt project to it"),
    _Known(r"couldn't find remote ref", "{ref} does not exist", _REF_HINT),
    _Known(r"invalid refspec|not a valid ref", "{ref} is not a valid name in git", _REF_HINT),
    _Known(r"mismatched algorithms", "the repository uses SHA-256, for which spec.project.git.ref must name a commit", _REF_HINT),
    _Known(
        r"host key verification failed|no .* host key is known|remote host identification has changed",
        "the server's host key is not the one in known_hosts",
        "add the server's key to the key known_hosts of the Secret in spec.project.git.secretRef",
    ),
    _Known(
        r"certificate|ssl.*verif|self.signed",
        "the server's certificate is not trusted",
        "add the CA to the key ca.crt of the Secret in spec.project.git.secretRef, or to the chart's caBundle",
    ),
    _Known(
        r"authentication failed|could not read (username|password)|terminal prompts disabled|returned error: 40[13]|permission denied"
        r"|invalid credentials|too many authentication failures|load key|invalid format",
        "the server refused the credentials",
        _SECRET_HINT,
    ),
    _Known(
        r"repository .*not found|returned error: 40[04]|returned error: 410|does not appear to be a git repository|not found",
        "there is no such repository, or the credentials do not allow reading it",
        _URL_HINT,
    ),
    _Known(r"redirect|returned error: 30[0-9]", "the server redirects to another address", _URL_HINT),
    _Known(
        r"could not resolve|resolve hostname|name or service not known|failed to connect|couldn't connect"
        r"|connection (refused|timed out|reset|closed)|timed out"
        r"|no route|network is unreachable|returned error: (429|5[0-9]{2})"
        r"|SSL_ERROR_(SYSCALL|ZERO_RETURN)|TLS connection was non-properly terminated|early eof|unexpected disconnect|hung up|broken pipe"
        r"|rpc failed|empty reply|recv failure|send failure|kex_exchange",
        "the server cannot be reached",
        "",
        True,
    ),
)
_SHOWN: Final = 5
"""Maximum number of tags in a message."""
_DETAIL: Final = 300
"""Maximum number of characters of git's message that are quoted."""


def failure_of(output: str, url: str, ref: str) -> Failure:
    """Return why a fetch of a ref failed. The output must not contain secrets."""
    # a repository may be named certificates.git
    told = output.replace(url.rstrip("/"), "")
    for kind in _KNOWN:
        if re.search(kind.pattern, told, re.IGNORECASE):
            says = kind.says.format(ref=ref, gone=f"{ref} does not exist, or the server does not allow fetching single commits")
            return unavailable(f"{url}: {says} ({_detail(output)})", kind.hint, retryable=kind.retryable)
    return unavailable(f"{url}: git failed: {_detail(output)}", retryable=True)


def unavailable(message: str, hint: str = "", *, retryable: bool = False) -> Failure:
    """Return the failure of a project that could not be fetched."""
    return Failure(Reason.PROJECT_UNAVAILABLE, f"cannot fetch the dbt project: {message}", retryable, hint)


def no_version(url: str, label: str, versions: Sequence[str]) -> Failure:
    """Return the failure of a range of versions in which no tag is. `versions` are the tags that are versions, highest first."""
    others = f"the highest versions are {', '.join(versions[:_SHOWN])}" if versions else "no tag is a version, like v1.2.3"
    return unavailable(f"{url}: {label} matches no tag: {others}", _REF_HINT)


def machine_failure(url: str, error: OSError) -> Failure:
    """Return the failure of a fetch for which this machine has no space left. Another attempt may run on another machine."""
    why = error.strerror or type(error).__name__
    return unavailable(f"{url}: {why}", "see spec.resources.limits.ephemeral-storage", retryable=True)


def invalid(message: str) -> Failure:
    """Return the failure of a project that was fetched but cannot be used."""
    # file names need not be UTF-8
    return Failure(Reason.INVALID_PROJECT, message.encode(errors="backslashreplace").decode(), hint="see spec.project.git")


def _detail(output: str) -> str:
    """Return the most useful line of git's output: its last error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(fatal|error|remote|ssh|curl|.*: permission denied|host key)", line, re.IGNORECASE)]
    return (told or lines or ["no message"])[0][:_DETAIL]
