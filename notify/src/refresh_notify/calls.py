"""Call servers whose URLs users choose: to checked addresses, with one deadline, quoting neither errors nor responses."""

import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Final

import httpx

from refresh_notify import bodies
from refresh_notify.addresses import ForbiddenAddressError, resolved

RETRYABLE: Final = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
"""Status codes that are retried."""
_TRIES: Final = 3
_FIRST_PAUSE: Final = 0.5
"""Seconds until the next try if the response has no Retry-After."""
_CERTIFICATES: Final = {
    10: "its certificate has expired",
    62: "its certificate is for another name",
    64: "its certificate is for another name",
}
"""Messages by OpenSSL's verification code."""


class CallError(Exception):
    """A call without a response. The message quotes neither the error nor the server."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the error, if only that is known."""


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: httpx.Headers
    body: bytes = b""
    """The first bytes of the body, as many as were requested."""
    is_whole: bool = True
    """Whether the body was read to its end."""

    @property
    def retry_after(self) -> float | None:
        """Seconds of the header Retry-After, or None."""
        text = str(self.headers.get("Retry-After", "")).strip()
        if text.isascii() and text.isdigit():
            return float(text[:6])
        with suppress(ValueError, OverflowError):
            return float(max(parsedate_to_datetime(text).timestamp() - time(), 0.0))
        return None


class Cutoff:
    """A deadline that closes a connection. Read timeouts are not enough: a server that sends a byte now and then never exceeds them."""

    def __init__(self) -> None:
        self._held: socket.socket | None = None
        self._changing = threading.Lock()
        self.passed = False

    def hold(self, connection: socket.socket) -> None:
        """Set the connection to close. Keeps a duplicate, since TLS takes over the socket itself."""
        with self._changing:
            if self._held:
                self._held.close()
            self._held = connection.dup()
        if self.passed:
            self._end()

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Handle a trace event of httpcore."""
        if event.endswith("connect_tcp.complete"):
            held = getattr(info.get("return_value"), "get_extra_info", lambda _: None)("socket")
            if isinstance(held, socket.socket):
                self.hold(held)

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """Close the connection if the block takes longer."""
        self.passed = False
        timer = threading.Timer(max(seconds, 0), self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Release the duplicate of the connection."""
        with self._changing:
            if self._held:
                self._held.close()
            self._held = None

    def _end(self) -> None:
        self.passed = True
        with self._changing:
            if self._held:
                with suppress(OSError):
                    self._held.shutdown(socket.SHUT_RDWR)


class _CheckedTransport(httpx.BaseTransport):
    """A transport that connects to the checked address; TLS still verifies the name of the host."""

    def __init__(self, trusted: ssl.SSLContext | bool, only_loopback: bool) -> None:
        self._inner = httpx.HTTPTransport(verify=trusted, trust_env=False)
        self._only_loopback = only_loopback

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address that accepts a connection."""
        url, limits = request.url, request.extensions["timeout"]
        limit, begun = limits["connect"], monotonic()
        failure: httpx.TransportError = httpx.ConnectTimeout("no address in time")
        for address in resolved(url.host, url.port or (443 if url.scheme == "https" else 80), limit, only_loopback=self._only_loopback):
            # The timeout covers all addresses together.
            if (left := limit - (monotonic() - begun)) <= 0:
                break
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host, "timeout": {**limits, "connect": left}},
            )
            try:
                return self._inner.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()


class Caller:
    """A client for one server. Use it as a context manager."""

    def __init__(
        self, base_url: str = "", headers: Mapping[str, str] | None = None, *, proxy: str | None = None, only_loopback: bool = False
    ) -> None:
        # Loading the trusted certificates takes longer than a call, and plain HTTP needs none.
        trusted = False if base_url.startswith("http:") else httpx.create_ssl_context()
        self._cutoff = Cutoff()
        transport = httpx.HTTPTransport(proxy=proxy, verify=trusted) if proxy else _CheckedTransport(trusted, only_loopback)
        # Redirects are not followed: their targets were not checked.
        wanted = {"Accept-Encoding": bodies.ACCEPTED, **(headers or {})}
        self._client = httpx.Client(base_url=base_url, headers=wanted, transport=transport, trust_env=False, follow_redirects=False)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._cutoff.close()
        self._client.close()

    def call(
        self,
        method: str,
        url: str,
        within: float,
        *,
        content: object = None,
        headers: Mapping[str, str] | None = None,
        keep: int = 0,
        to_end: bool = True,
    ) -> Answer:
        """Return the answer, with the first `keep` bytes of its body; CallError if the call fails, TimeoutError if it takes too long.

        `content` is sent as JSON, bytes as they are. `headers` are those of this request alone.
        """
        if within <= 0:
            raise TimeoutError
        answered: httpx.Response | None = None
        body = b""
        try:
            raw, to_write = (content, None) if isinstance(content, bytes) else (None, content)
            request = self._client.build_request(
                method, url, content=raw, json=to_write, headers=headers, timeout=within, extensions={"trace": self._cutoff.trace}
            )
            with self._cutoff.after(within):
                answered = self._client.send(request, stream=True)
                try:
                    for part in bodies.pieces(answered.iter_raw(), answered.headers.get("Content-Encoding", "")) if to_end else ():
                        body += part[: max(keep - len(body), 0)]
                        if self._cutoff.passed:
                            raise TimeoutError
                finally:
                    answered.close()
            if self._cutoff.passed:
                # A body without a length ends where its connection was closed.
                raise TimeoutError
        except ForbiddenAddressError as error:
            raise CallError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, bodies.UnreadableBodyError, OSError, ValueError) as error:
            if self._cutoff.passed or isinstance(error, httpx.TimeoutException | TimeoutError):
                raise TimeoutError from None
            if answered is None:
                words = why(error)
                raise CallError(words, "" if words.startswith(("its ", "no TLS")) else type(error).__name__) from None
            return Answer(answered.status_code, answered.headers, body, is_whole=False)
        return Answer(answered.status_code, answered.headers, body)


def why(error: BaseException) -> str:
    """Return why a call failed, without the error's own text, which may quote a URL, a header or the server."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        if isinstance(seen, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(seen, ssl.SSLCertVerificationError):
            return _CERTIFICATES.get(seen.verify_code, f"its certificate is not trusted (code {seen.verify_code})")
        if isinstance(seen, ssl.SSLError):
            return "no TLS connection could be established"
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno).lower()
        if isinstance(seen, httpx.RemoteProtocolError):
            return "it gave no valid HTTP response"
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def proxy_for(url: httpx.URL, within: float) -> str | None:
    """Return the proxy for a URL from the environment, or None if there is no proxy or the host is excluded.

    Only the proxy has to resolve the host. If it can be resolved here, to an address that is refused, raise CallError.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(url.host):
        return None
    try:
        resolved(url.host, url.port or 443, within)
    except ForbiddenAddressError as error:
        raise CallError(str(error)) from None
    except OSError:
        pass  # only the proxy needs to resolve it
    return proxy if "://" in proxy else f"http://{proxy}"


def tried(call: Callable[[float], Answer], within: float, elapsed: Callable[[], float], sleep: Callable[[float], None]) -> Answer:
    """Return the response of a call, with up to two retries within the time if the server asks for them."""
    ends, pause = elapsed() + within, _FIRST_PAUSE
    for attempt in range(1, _TRIES + 1):
        answer = call(ends - elapsed())
        wait = pause if answer.retry_after is None else answer.retry_after
        if answer.status not in RETRYABLE or attempt == _TRIES or elapsed() + wait >= ends:
            break
        sleep(wait)
        pause *= 2
    return answer
