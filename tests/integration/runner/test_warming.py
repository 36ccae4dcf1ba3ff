"""Calls of the dashboards' API, whatever responds there: only the status code of a response is reported."""

from __future__ import annotations

import gzip
import time
import zlib
from datetime import timedelta

import pytest

from cluster.ports import free_port
from refresh_api.status import EndpointStatus
from refresh_api.steps import CacheVersion
from refresh_runner.model.steps import CacheStep
from refresh_runner.run.cache_warmup import WarmupContext, warm
from support.rawserver import RawServer, Script, http
from support.webserver import WebServer

BROKEN = "answered 200 with an unreadable body"


def called(
    url: str,
    timeout: float = 5,
    place: CacheVersion | None = None,
    waited: list[float] | None = None,
    version: str | None = None,
    authorization: str | None = None,
) -> EndpointStatus:
    """Call one endpoint of an API."""
    step = CacheStep(url, ("/a",), timedelta(seconds=timeout), place)

    def sleep(seconds: float) -> None:
        if waited is None:
            time.sleep(seconds)
        else:
            waited.append(seconds)

    (found,) = warm(step, WarmupContext(time.monotonic, sleep, time.monotonic() + 60, "petit", version, authorization))
    return found


def said(*script: bytes, timeout: float = 5) -> EndpointStatus:
    """Call an endpoint that responds with these bytes."""
    with RawServer([script]) as api:
        return called(api.url, timeout)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (http(200), None),
        (http(200, gzip.compress(b"ok"), Content_Encoding="gzip"), None),
        (http(200, b"no gzip at all", Content_Encoding="gzip"), BROKEN),
        (http(200, gzip.compress(b"ok" * 999)[:-20] + b"x" * 20, Content_Encoding="gzip"), BROKEN),
        (http(200, gzip.compress(b"ok" * 999)[:-4], Content_Encoding="gzip"), BROKEN),
        (http(200, gzip.compress(b"o") + gzip.compress(b"k"), Content_Encoding="gzip"), None),
        (http(200, zlib.compress(b"ok"), Content_Encoding="deflate"), None),
        (http(200, zlib.compress(b"ok")[2:-4], Content_Encoding="deflate"), None),
        (http(200, b"\xff\xfe", Content_Encoding="deflate"), BROKEN),
        (http(200, b"ok", Content_Encoding="br"), BROKEN),
        (http(500, b"no gzip at all", Content_Encoding="gzip"), "answered 500 with an unreadable body"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n"], BROKEN),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok"], BROKEN),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"], "gave no valid HTTP response"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "gave no valid HTTP response"),
        ([b""], "gave no valid HTTP response"),
        (http(301, Location="/a"), "answered 301"),
        (http(404, b"SecretAccessKey=abc"), "answered 404"),
    ],
)
def test_an_answer_is_told_by_its_status(script: Script, message: str | None):
    """An unreadable body is a response, not an unreachable API. The control is a readable body."""
    found = said(*script)
    assert message == found.message or (message or "") in (found.message or ""), found.message
    assert "SecretAccessKey" not in str(found)
    assert ("cannot be reached" in (found.message or "")) == ("HTTP" in (message or ""))


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"H"]
)
def test_a_slow_drip_ends_with_the_endpoints_time(begin: bytes):
    """Both in its headers and in its body."""
    with RawServer([]) as api:
        api.scripts.append(api.drip(begin))
        began = time.monotonic()
        found = called(api.url, timeout=1)
    assert found.message == "no complete response within 1s"
    assert time.monotonic() - began < 4


def test_a_body_that_does_not_end_takes_no_memory():
    """The version is searched for in the first megabytes. The rest is discarded until the timeout."""
    with RawServer([[b"HTTP/1.1 200 OK\r\n\r\n{", *([b" " * 2**20] * 100_000)]]) as api:
        found = called(api.url, 1, CacheVersion(field="a"), version="petit-2")
    assert found.message == "no complete response within 1s"


@pytest.mark.parametrize(
    ("statuses", "message", "calls"), [([503, 200], None, 2), ([429, 503, 200], None, 3), ([429] * 4, "answered 429", 3)]
)
def test_an_api_that_asks_for_another_try_gets_it(statuses: list[int], message: str | None, calls: int):
    """Within the endpoint's timeout. A longer Retry-After is ignored."""
    waited: list[float] = []
    with RawServer([http(status, Retry_After="1") for status in statuses]) as api:
        assert (called(api.url, waited=waited).message, len(api.heard), waited) == (message, calls, [1.0] * (calls - 1))
    with RawServer([http(503, Retry_After="3600")]) as api:
        assert (called(api.url, waited=[]).message, len(api.heard)) == ("answered 503", 1)


@pytest.mark.parametrize(
    ("body", "shown", "message"),
    [
        (b'{"meta": {"version": "petit-2"}}', "petit-2", None),
        (b'{"meta": {"version": "petit-1"}}', "petit-1", "serves the data of petit-1; petit-2 is live"),
        (b'{"meta": {"version": "wJalrXUtnFEMI/K7MDENG"}}', None, "serves other data; petit-2 is live"),
        (b'{"meta": {"version": "petit-1 SecretAccessKey"}}', None, "serves other data; petit-2 is live"),
        (b'{"meta": {}}', None, "does not say in the field meta.version which data it serves; petit-2 is live"),
        (b"[" * 100_000, None, "does not say in the field meta.version which data it serves; petit-2 is live"),
        (b"\xff\xfe", None, "does not say in the field meta.version which data it serves; petit-2 is live"),
    ],
)
def test_a_version_is_compared_and_only_shown_where_it_is_a_run(body: bytes, shown: str | None, message: str | None):
    """If the field were copied, users could choose any field, and read data that the API shows to nobody else."""
    with RawServer([http(200, body)]) as api:
        found = called(api.url, 0.3, CacheVersion(field="meta.version"), version="petit-2")
    assert (found.version, found.message) == (shown, message)


def test_metadata_services_are_refused_and_an_address_shows_no_password():
    """The control: an address where nothing listens is called."""
    assert (called("http://169.254.169.254").message or "").startswith("http://169.254.169.254 cannot be reached: its address is refused")
    place = f"127.0.0.1:{free_port()}"
    assert called(f"http://me:geheim-1@{place}").message == f"http://{place} cannot be reached: connection refused"


@pytest.mark.parametrize("authorization", ["Bearer line\nbreak-geheim", "geheim\0-1", " Bearer geheim-1"])
def test_a_header_that_httpx_refuses_is_not_quoted(authorization: str):
    """The step already reports an invalid key. This is the second line of defence."""
    with WebServer() as api:
        found = called(api.url, authorization=authorization)
    assert "geh" not in str(found)
