"""Calls of servers that others name: to checked addresses, within a time in all, and nothing of what fails or answers is quoted."""

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
"""Statuses by which a server asks for another try."""
_TRIES: Final = 3
_FIRST_PAUSE: Final = 0.5
"""Seconds until a server is asked again that does not say when."""
_CERTIFICATES: Final = {
    10: "its certificate has expired",
    62: "its certificate is for another name",
    64: "its certificate is for another name",
}
"""By OpenSSL's code of the failed verification."""


class CallError(Exception):
    """There is no answer; the message says why, in words of our own."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the error, where nothing more is known than that there is no connection."""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: httpx.Headers
    body: bytes = b""
    """What was asked for of it."""
    is_whole: bool = True
    """Whether its body could be read to its end."""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait before another try; None where it does not say."""
        text = str(self.headers.get("Retry-After", "")).strip()
        if text.isascii() and text.isdigit():
            return float(text[:6])
        with suppress(ValueError, OverflowError):
            return float(max(parsedate_to_datetime(text).timestamp() - time(), 0.0))
        return None


class Cutoff:
    """Ends a connection when its time is up, wherever it is: a server that sends a byte now and then outlives the time-outs of reads."""

    def __init__(self) -> None:
        self._held: socket.socket | None = None
        self._changing = threading.Lock()
        self.passed = False

    def hold(self, connection: socket.socket) -> None:
        """This is the connection to end. A duplicate is kept: TLS takes the socket itself over."""
        with self._changing:
            if self._held:
                self._held.close()
            self._held = connection.dup()
        if self.passed:
            self._end()

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take an event of httpcore."""
        if event.endswith("connect_tcp.complete"):
            held = getattr(info.get("return_value"), "get_extra_info", lambda _: None)("socket")
            if isinstance(held, socket.socket):
                self.hold(held)

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """End the connection if what is inside takes longer."""
        self.passed = False
        timer = threading.Timer(max(seconds, 0), self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the connection."""
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
    """Connects to the very address that was checked; the certificate is still compared with the host's name."""

    def __init__(self, trusted: ssl.SSLContext | bool, only_loopback: bool) -> None:
        self._inner = httpx.HTTPTransport(verify=trusted, trust_env=False)
        self._only_loopback = only_loopback

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address that can be reached."""
        url, limits = request.url, request.extensions["timeout"]
        limit, begun = limits["connect"], monotonic()
        failure: httpx.TransportError = httpx.ConnectTimeout("no address in time")
        for address in resolved(url.host, url.port or (443 if url.scheme == "https" else 80), limit, only_loopback=self._only_loopback):
            # All addresses together take no longer than one.
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
        """Close its connections."""
        self._inner.close()


class Caller:
    """A client of one server. To be closed."""

    def __init__(
        self, base_url: str = "", headers: Mapping[str, str] | None = None, *, proxy: str | None = None, only_loopback: bool = False
    ) -> None:
        # To read all certificates that are trusted takes longer than the calls, and is of no use where there is none.
        trusted = False if base_url.startswith("http:") else httpx.create_ssl_context()
        self._cutoff = Cutoff()
        transport = httpx.HTTPTransport(proxy=proxy, verify=trusted) if proxy else _CheckedTransport(trusted, only_loopback)
        # No redirect is followed: it would lead to an address that nobody has written.
        wanted = {"Accept-Encoding": bodies.ACCEPTED, **(headers or {})}
        self._client = httpx.Client(base_url=base_url, headers=wanted, transport=transport, trust_env=False, follow_redirects=False)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._cutoff.close()
        self._client.close()

    def call(self, method: str, url: str, within: float, *, content: object = None, keep: int = 0, to_end: bool = True) -> Answer:
        """Return the answer, with the first `keep` bytes of its body; CallError or TimeoutError if there is none, or not in time."""
        answered: httpx.Response | None = None
        body = b""
        try:
            request = self._client.build_request(method, url, json=content, timeout=within, extensions={"trace": self._cutoff.trace})
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
                # A body without a length seems to end where its connection was ended.
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
    """Return why a server can't be reached, in words of our own: the error's may quote an address, a header or what a server said."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        if isinstance(seen, socket.gaierror):
            return "its name can't be resolved"
        if isinstance(seen, ssl.SSLCertVerificationError):
            return _CERTIFICATES.get(seen.verify_code, f"its certificate is not trusted (code {seen.verify_code})")
        if isinstance(seen, ssl.SSLError):
            return "no TLS connection could be made"
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno).lower()
        if isinstance(seen, httpx.RemoteProtocolError):
            return "it gave no answer in HTTP"
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def proxy_for(url: httpx.URL, within: float) -> str | None:
    """Return the proxy that the environment names for an address; None where there is none, or not for this host.

    The proxy looks the host up, not we; what we can see of it may still not be called: CallError.
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
        pass  # it need not be known here
    return proxy if "://" in proxy else f"http://{proxy}"


def tried(call: Callable[[float], Answer], within: float, elapsed: Callable[[], float], sleep: Callable[[float], None]) -> Answer:
    """Return the answer to a call, made with the seconds that are left; thrice in all where the server asks for it in time."""
    ends, pause = elapsed() + within, _FIRST_PAUSE
    for attempt in range(1, _TRIES + 1):
        answer = call(ends - elapsed())
        wait = pause if answer.retry_after is None else answer.retry_after
        if answer.status not in RETRYABLE or attempt == _TRIES or elapsed() + wait >= ends:
            break
        sleep(wait)
        pause *= 2
    return answer
