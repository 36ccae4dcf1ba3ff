"""Secrets are found in every form in which programs write them, before a text is clipped."""

from __future__ import annotations

import ast
import base64
import html
import json
import os
import random
import re
import string
import time
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from refresh_api.redaction import MASK, Redactor, secret_values
from refresh_api.secret_forms import is_weak

PEM = "-----BEGIN KEY-----\n" + "\n".join(f"{number:02}b3/+xYz9Qw=" * 5 for number in range(50)) + "\n-----END KEY-----\n"
VALUES = [
    "p%40:/'\"$",
    "élan-Übermut€ 😀x",
    "back\\slash''d\"\"e\\\\n",
    "Bearer eyJhbGciOi.JIUzI1/NiJ9+abc-_==",
    "two\nlines\tand a tab",
    "$%&/()=?{}[]",
    PEM,
]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def lower(text: str) -> str:
    """Percent-encoding in lower case."""
    return re.sub("%..", lambda match: match.group().lower(), text)


@lru_cache
def redactor(*values: str) -> Redactor:
    """Return a redactor; it is created once per secret."""
    return Redactor(values)


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda v: v,
    "trimmed": str.strip,
    "white space collapsed": lambda v: " ".join(v.split()),
    "white space removed": lambda v: "".join(v.split()),
    "base64": b64,
    "base64 without padding": lambda v: b64(v).rstrip("="),
    "base64 for addresses": lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
    "base64 in lines": lambda v: base64.encodebytes(v.encode()).decode(),
    "Basic, one letter": lambda v: b64(f"u:{v}"),
    "Basic, two letters": lambda v: b64(f"us:{v}"),
    "Basic, three letters": lambda v: b64(f"usr:{v}"),
    "in base64 of JSON": lambda v: b64(json.dumps({"a": v}, ensure_ascii=False)) if v.isalnum() else b64(f'{{"a": "{v}"}}'),
    "percent": lambda v: quote(v, safe=""),
    "percent, slashes kept": quote,
    "percent in lower case": lambda v: lower(quote(v, safe="")),
    "percent twice": lambda v: quote(quote(v, safe=""), safe=""),
    "percent of everything": lambda v: "".join(f"%{byte:02X}" for byte in v.encode()),
    "plus": quote_plus,
    "HTML": html.escape,
    "HTML twice": lambda v: html.escape(html.escape(v)),
    "XML references": lambda v: v.encode("ascii", "xmlcharrefreplace").decode(),
    "JSON": json.dumps,
    "JSON, letters kept": lambda v: json.dumps(v, ensure_ascii=False),
    "JSON in JSON": lambda v: json.dumps(json.dumps({"a": v})),
    "JSON with \\/": lambda v: json.dumps(v).replace("/", "\\/"),
    "Go's JSON": lambda v: json.dumps(v).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    "repr": repr,
    "repr of repr": lambda v: repr(repr(v)),
    "repr of bytes": lambda v: repr(v.encode()),
    "unicode-escaped": lambda v: v.encode("unicode_escape").decode(),
    "backslashes": lambda v: v.encode("ascii", "backslashreplace").decode(),
    "replaced": lambda v: v.encode("ascii", "replace").decode(),
    "read as Latin-1": lambda v: v.encode().decode("latin-1"),
    "SQL": lambda v: v.replace("'", "''"),
    "bytea": lambda v: "\\x" + v.encode().hex(),
    "quoted-printable": lambda v: "".join(f"={byte:02X}" for byte in v.encode()),
    "begin of what was cut": lambda v: v.strip()[: max(20, len(v) // 2)],
    "end of what was cut": lambda v: v.strip()[-max(20, len(v) // 2) :],
}


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_this_form(value: str, form: str):
    """Only the surrounding text remains. Control: another secret is not found."""
    if "cut" in form and len(value) < 32:
        return
    written = FORMS[form](value)
    masked = redactor(value)(f"said {written} here")
    left = masked.replace(MASK, "").removeprefix("said").removesuffix("here")
    assert MASK in masked
    assert len([each for each in left if each.isalnum()]) <= len("bxn0Aa") + ("json" in form.lower()) * 4, masked
    assert redactor("something-else-9")(f"said {written} here") == f"said {written} here"


EXAMPLES = int(os.environ.get("REDACTION_EXAMPLES", "40"))
"""More examples would take minutes."""
ENCODERS = ["base64", "percent", "percent in lower case", "plus", "HTML", "JSON", "JSON, letters kept", "Go's JSON", "repr"]
OUTER = [each for each in ENCODERS if each != "base64"]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=4, max_size=24).filter(lambda text: len("".join(text.split())) > 5),
    st.sampled_from(ENCODERS),
    st.sampled_from(OUTER),
    st.text("abc \\\"'<&%/", max_size=6),
)
def test_any_secret_is_found_in_any_form_of_a_form(value: str, inner: str, outer: str, beside: str):
    """For secrets of any characters, in nested encodings, and within other text."""
    if is_weak(value):
        return
    written = FORMS[outer](f"{beside}{FORMS[inner](value)}{beside}")
    assert MASK in Redactor([value])(written), (inner, outer, written)


@pytest.mark.parametrize("before", range(0, 80, 11))
@pytest.mark.parametrize("value", ["p%40:/'\"$", "tok-en.0123456789", PEM], ids=["short", "token", "key"])
def test_no_boundary_of_a_text_leaves_a_piece_of_a_secret(value: str, before: int):
    """Wherever the text is clipped. Control: if it is clipped before it is redacted, a part of the key remains."""
    text = "x" * before + value * 3
    redact = redactor(value)
    for length in (*range(before, before + 12), 2000):
        shown = redact.clipped(text, max(length, 1))
        assert set(shown) <= set("x*…\n"), shown
    if value == PEM:
        assert "b3/+xYz" in (text[:300] + "…")


def test_a_long_key_of_which_others_have_cut_a_piece_is_masked():
    """For example, an error quotes the first characters of a header, or PostgreSQL the first 63 of a name."""
    redact = Redactor([PEM, "a-token-of-more-than-thirty-two-characters-0123456789"])
    assert redact('value "a-token-of-more-than-thirty-two…') == 'value "***…'
    assert redact("…two-characters-0123456789 is wrong") == "…*** is wrong"


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("Bearer abc123def456", "no such token abc123def456", "no such token ***"),
        ("Basic " + b64("me:geheim-99"), "user me with geheim-99", "user me with ***"),
        ("https://hooks.example/services/T00001/B00002/x9Yz8w7v6u", "no hook /services/T00001/B00002/x9Yz8w7v6u", "no hook /***"),
        ("https://hooks.example/services/T00001/B00002/x9Yz8w7v6u", "token x9Yz8w7v6u is revoked", "token *** is revoked"),
        ("https://hooks.example/in?token=q1w2e3r4t5&v=2", "bad query token=q1w2e3r4t5&v=2", "bad query ***"),
        ("https://hooks.example/in?token=q1w2e3r4t5", "bad token q1w2e3r4t5", "bad token ***"),
        ("https://me:s%40cret-1@hooks.example/", "password s@cret-1 and s%40cret-1", "password *** and ***"),
        ("postgresql://u:pass-word9@db/x", "login with pass-word9 failed", "login with *** failed"),
        ("host=db user=u password='it\\'s-me' x=1", "login with it's-me", "login with ***"),
        ("Server=db;Uid=u;Pwd=Geheim!7;", "login with Geheim!7", "login with ***"),
        ('{"type": "service_account", "private_key": "-----BEGIN\\nAbcDef0123\\n"}', "line AbcDef0123", "line ***"),
        ('{"auths": {"hub": {"username": "me", "auth": "bWU6cGE1NS13b3JkIQ=="}}}', "login with pa55-word!", "login with ***"),
        ('[{"url": "https://u:pa55word-1@h/x"}]', "login with pa55word-1", "login with ***"),
        ("me:pa55-word", "login with pa55-word", "login with ***"),
        ("Hunter2-Secret", 'relation "hunter2-secret" does not exist', 'relation "***" does not exist'),
        (unicodedata.normalize("NFC", "pässwörd"), unicodedata.normalize("NFD", "no pässwörd"), "no ***"),
        (PEM, "one line: 07b3/+xYz9Qw=07b3/+xYz9Qw=07b3/+xYz9Qw=07b3/+xYz9Qw=07b3/+xYz9Qw=", "one line: ***"),
        ("  padded-value-1 \n", "got padded-value-1", "got ***"),
    ],
)
def test_what_lets_somebody_in_is_found_alone(value: str, text: str, shown: str):
    """Such as a line, a token, a password, a path or a query."""
    assert Redactor([value])(text) == shown


@pytest.mark.parametrize("value", ["failed", "null", "true", "0", "no", "2026", "Error", "postgres", "Failed"])
def test_a_weak_secret_makes_no_nonsense_of_a_text(value: str):
    """It is masked only where the context shows that it is a secret. Elsewhere it could be guessed from the context."""
    redact = Redactor([value], known=["me"])
    text = f"2 of 9 tests {value}: null is no error in 2026; run of postgres failed, true"
    assert redact(text) == text
    assert redact(f"postgresql://me:{value}@db/x") == "postgresql://me:***@db/x"
    assert redact(f"host=db password={value} x") == "host=db password=*** x"
    assert b64(f"me:{value}").rstrip("=") not in redact(f"Authorization: Basic {b64(f'me:{value}')}")


def test_a_password_that_is_the_users_name_masks_no_name():
    """The name is public anyway. Control: if it is not a known name, the same value is masked."""
    assert Redactor(["refresh1"], known=["refresh1"])("permission denied for refresh1") == "permission denied for refresh1"
    assert Redactor(["refresh1"])("permission denied for refresh1") == "permission denied for ***"


@pytest.mark.parametrize("value", ["null", "true", "failed", "message", "12345678", '": "', "error"])
def test_json_stays_the_json_that_it_is(value: str):
    """Fields are redacted before they are encoded; enum values are unchanged."""
    whole: JsonValue = {"status": "failed", "message": f"it is {value}", "rows": 3, "none": None, "ok": True, "list": [value, 12345678]}
    shown = Redactor([value]).inside(whole, frozenset({"status"}))
    read = json.loads(json.dumps(shown))
    assert (read["status"], read["rows"], read["none"], read["ok"]) == ("failed", 3, None, True)
    assert list(read) == ["status", "message", "rows", "none", "ok", "list"]
    assert Redactor(["gehe-im-1"]).inside({"a gehe-im-1": 1}) == {"a ***": 1}


def test_keys_that_are_public_in_a_warehouses_secret_are_secret_where_they_are_used_for_themselves():
    """The URL of a webhook may be in a key named `host`."""
    secrets = {"slack": {"host": "https://hooks/x"}, "warehouse": {"host": "db", "password": "p"}}
    assert secret_values(secrets) == ["p"]
    assert secret_values(secrets, {("slack", "host")}) == ["https://hooks/x", "p"]


def test_two_megabytes_of_log_take_a_second():
    """With a key of fifty lines and ten more secrets. The time depends only on the length of the text."""
    letters = random.Random(21)
    values = ["".join(letters.choices(string.ascii_letters + string.digits + "-_.%", k=24)) for _ in range(10)]
    redact = Redactor([PEM, *values])
    line = json.dumps({"level": "info", "message": "1 of 4 OK created sql table model dwh_marts.mart_a [SELECT 100 in 0.12s]"})
    began = time.process_time()
    for _ in range(2_000_000 // len(line)):
        redact(line)
    assert redact((line + "\n") * 10_000 + values[3]).endswith(MASK)
    for text in ("\\" * 200_000, "%25" * 100_000, " " * 200_000, "'" * 200_000, "A" * 300_000 + b64(values[0]) + "A" * 300_000):
        assert redact(text)
    assert time.process_time() - began < 8


SOURCES = Path(__file__).parents[3]


def cutting(package: str) -> set[str]:
    """Return the modules of a package that clip texts without redacting them."""
    found = set()
    for path in sorted((SOURCES / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and any(name.name == "clip" for name in node.names):
                found.add(path.name)
    return found


def test_a_text_is_cut_by_the_redactor_alone():
    """`reporters` and `log_output` clip redacted texts, `loader` texts without secrets. Control: the operator also clips texts."""
    assert cutting("runner/src") == {"reporters.py", "log_output.py", "loader.py"}
    assert cutting("notify/src") == set()
    assert cutting("operator/src")
