"""What is sent to an S3 server, and what is said of its answers; tests/integration/runner has a real server."""

import re
import time
from hashlib import sha256

import pytest

from refresh_api.artifacts import S3
from refresh_runner.core.after_run import NotDoneError
from refresh_runner.object_store.s3 import Bucket, Credentials, credentials_of
from support.webserver import WebServer

KEYS = {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
PATH = "/seau/a/b.txt"


def put(server: WebServer, within: float = 10, token: str | None = None) -> None:
    store = S3.model_validate({"endpoint": server.url, "bucket": "seau", "region": "eu-west-3", "secretRef": {"name": "s"}})
    with Bucket(store, Credentials(KEYS["accessKeyId"], KEYS["secretAccessKey"], token), time.monotonic() + within) as bucket:
        bucket.put("a/b.txt", "text/plain", "déjà".encode())


def test_a_request_is_signed_and_has_no_secret():
    """The digest of the content is part of what is signed, and so is a session token."""
    with WebServer() as server:
        put(server, token="jeton-de-session")
        (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("PUT", PATH, "déjà")
    signed = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/eu-west-3/s3/aws4_request, "
        r"SignedHeaders=(\S+), Signature=[0-9a-f]{64}",
        asked.headers["Authorization"],
    )
    assert signed
    assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} <= set(signed[2].split(";"))
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["x-amz-content-sha256"] == sha256(asked.body.encode()).hexdigest()
    assert headers["x-amz-security-token"] == "jeton-de-session"
    assert KEYS["secretAccessKey"] not in str(asked)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "<Error><Code>NoSuchBucket</Code></Error>", "404 (NoSuchBucket: the bucket does not exist)"),
        (403, "<Error><Code>Whatever</Code><Message>of seau</Message></Error>", "403"),
        (403, " " * 4096 + "<Code>AccessDenied</Code>", "403"),
        (500, "", "500"),
        (201, "", None),
    ],
)
def test_of_an_answer_only_known_codes_are_shown(status: int, body: str, words: str | None):
    """The rest is the server's text, which may quote anything."""
    with WebServer(statuses={PATH: status}, body=body) as server:
        if words is None:
            put(server)
            return
        with pytest.raises(NotDoneError) as error:
            put(server)
    assert str(error.value) == f"the server answered {words}"


def test_a_server_that_is_busy_is_asked_again():
    """S3 answers 503 SlowDown when too much is written at once. Control: 403 is final."""
    with WebServer(statuses={PATH: 503}, headers={"Retry-After": "0"}) as server:
        with pytest.raises(NotDoneError, match="503"):
            put(server)
        assert len(server.asked) == 3
        server.asked.clear()
        server.statuses[PATH] = 403
        with pytest.raises(NotDoneError, match="403"):
            put(server)
        assert len(server.asked) == 1


def test_a_silent_server_is_waited_for_until_the_time_is_over():
    """Not a second longer, nor is anything sent once it is."""
    with WebServer(slow={PATH}) as server:
        begun = time.monotonic()
        with pytest.raises(NotDoneError, match="no answer in time"):
            put(server, 0.5)
        assert time.monotonic() - begun < 2
        assert len(server.asked) == 1
        with pytest.raises(NotDoneError, match="no answer in time"):
            put(server, 0)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({}, "the Secret 'seau' does not exist or lacks the key 'accessKeyId'"),
        ({**KEYS, "secretAccessKey": " "}, "the Secret 'seau' does not exist or lacks the key 'secretAccessKey'"),
        ({**KEYS, "sessionToken": "deux\nlignes"}, "the key 'sessionToken' of the Secret 'seau' is not one line of printable ASCII"),
        ({**KEYS, "accessKeyId": "clé"}, "the key 'accessKeyId' of the Secret 'seau' is not one line of printable ASCII"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named_without_its_values(secret: dict[str, str], words: str):
    """Nothing is sent then."""
    with pytest.raises(NotDoneError) as error:
        credentials_of("seau", secret)
    assert words in str(error.value)
    assert not [value for value in secret.values() if value.strip() and value in str(error.value)]
