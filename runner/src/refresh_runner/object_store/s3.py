"""The only door to S3: puts objects into one bucket. Requests are signed by AWS's own library, and sent as all calls of the product."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import httpx
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest

from refresh_api.artifacts import ACCESS_KEY, S3, SECRET_KEY, SESSION_TOKEN
from refresh_notify.calls import Answer, Caller, proxy_for, tried
from refresh_runner.core.after_run import NotDoneError, calls_to

_KEPT: Final = 2048
"""Bytes of an answer in which the error's code is looked for."""
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_ELSEWHERE: Final = "the bucket is in another region, or has another address: see region and endpoint"
_ERRORS: Final = {
    "AccessDenied": "the credentials lack the permission s3:PutObject",
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "ExpiredToken": "the session token has expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "InvalidToken": "the session token is invalid",
    "NoSuchBucket": "the bucket does not exist",
    "PermanentRedirect": _ELSEWHERE,
    "QuotaExceeded": "the bucket is full",
    "RequestTimeTooSkewed": "the clocks of the server and of this machine differ",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "TemporaryRedirect": _ELSEWHERE,
}
"""What S3's error codes mean. Nothing else of an answer is shown."""


@dataclass(frozen=True)
class Credentials:
    """What requests are signed with."""

    access_key: str
    secret_key: str
    session_token: str | None = None


def credentials_of(name: str, secret: Mapping[str, str]) -> Credentials:
    """Return the credentials in a Secret. Raise NotDoneError, which quotes no value, if a key is missing or cannot be one."""
    found = {key: secret.get(key, "").strip() for key in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)}
    missing = [key for key in (ACCESS_KEY, SECRET_KEY) if not found[key]]
    if missing:
        raise NotDoneError(f"nothing written: the Secret {name!r} does not exist or lacks the key {missing[0]!r}")
    odd = [key for key, value in found.items() if not (value.isascii() and value.isprintable())]
    if odd:
        raise NotDoneError(f"nothing written: the key {odd[0]!r} of the Secret {name!r} is not one line of printable ASCII characters")
    return Credentials(found[ACCESS_KEY], found[SECRET_KEY], found[SESSION_TOKEN] or None)


class Bucket:
    """A bucket, until `ends` on the monotonic clock. Use it as a context manager."""

    def __init__(self, store: S3, credentials: Credentials, ends: float) -> None:
        self._store = store
        self._ends = ends
        self._signs = AwsCredentialsProvider.new_static(credentials.access_key, credentials.secret_key, credentials.session_token)
        self._caller: Caller | None = None

    def __enter__(self) -> Bucket:
        return self

    def __exit__(self, *_: object) -> None:
        if self._caller:
            self._caller.__exit__()

    def put(self, name: str, media_type: str, content: bytes) -> None:
        """Write an object. Raise NotDoneError if the server does not accept it in time."""
        url = httpx.URL(f"{self._store.endpoint}/{self._store.bucket}/{name}")
        with calls_to("the server"):
            answer = tried(lambda left: self._call(url, media_type, content, left), self._left(), time.monotonic, time.sleep)
        if not httpx.codes.is_success(answer.status):
            raise NotDoneError(f"the server answered {_told(answer)}")

    def _call(self, url: httpx.URL, media_type: str, content: bytes, left: float) -> Answer:
        self._caller = self._caller or Caller(str(url), proxy=proxy_for(url, left))
        return self._caller.call("PUT", str(url), self._left(), content=content, headers=self._signed(url, media_type, content), keep=_KEPT)

    def _signed(self, url: httpx.URL, media_type: str, content: bytes) -> dict[str, str]:
        """Return the headers of a request, with its signature. S3 checks the content by the digest among them."""
        headers = HttpHeaders([("Host", url.netloc.decode()), ("Content-Type", media_type)])
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._signs,
            region=self._store.region,
            service="s3",
            # as S3 wants it, unlike all other services
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=sha256(content).hexdigest(),
            signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        request = HttpRequest("PUT", url.raw_path.decode(), headers)
        return dict(aws_sign_request(request, config).result(self._left()).headers)

    def _left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _told(answer: Answer) -> str:
    found = _CODE.search(answer.body)
    code = found[1].decode() if found else ""
    return f"{answer.status} ({code}: {_ERRORS[code]})" if code in _ERRORS else str(answer.status)
