"""The forms in which programs write a secret value: unchanged, escaped, encoded, one of its lines, or the part that is secret by itself."""

import base64
import json
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html.entities import codepoint2name
from typing import Final
from urllib.parse import unquote, urlsplit

SHORTEST: Final = 4
"""Minimum length of a strong value. Masking every `no` or `5` would make messages unreadable, and reveal the value."""
_FEWEST_DIGITS: Final = 6
"""Minimum digits of a strong number. Shorter numbers are usually years, ports or counts."""
COMMON: Final = frozenset(
    "admin cancelled column default error errors exception fail failed failure false host localhost message name none null pass passed"
    " password postgres postgresql public role schema select skip skipped status succeeded success table test tests true undefined unknown"
    " user value values version warn warned warning".split()
)
"""Common words in logs, status and SQL, which are weak as secrets. Compared without regard to case."""
_WORD_TOKEN: Final = re.compile(r"v?[0-9]{1,3}|[a-z]{1,12}")
"""Segments of a path that do not look like a token, such as `services` or `v2`."""
_ASSIGNED: Final = re.compile(
    r"(?i)\b(?:password|passwd|pwd|pass|token|secret|apikey|key)\s*[=:]\s*('(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s;&]+)"
)
"""An assignment of a password, as in connection strings."""
_PAIR: Final = re.compile(r"[^\s:/]+:([^\s/][^\s]*)")
"""A user and a password, separated by a colon."""
_FRAGMENT: Final = 16
"""Characters at the beginning or end of a long value by which a truncated copy is recognised."""
_ENDS: Final = 2 * _FRAGMENT
_LONG: Final = 256
_OF_BASE64: Final = frozenset("+/=-_")
"""Special characters of base64. In a long value they are searched for in fewer forms."""
_LARGE: Final = 16 * 1024
"""Maximum length of a value to search for in any mixture of escapes; a longer one is found by its lines, beginning and end."""
TOKEN_REACH: Final = 256
"""Maximum characters of a token to mask on either side of a secret in it."""
_LAST_OF_BASE64: Final = (
    *(("+", "/"), ("-", "_"), ("+", "\\/"), ("+", "\\\\/"), ("\\u002b", "/"), ("\\u002B", "\\u002F")),
    *(("%2B", "%2F"), ("%2b", "%2f"), ("%2B", "/"), ("%2b", "/"), ("%252B", "%252F"), ("%252b", "%252f"), ("%252B", "/"), ("%252b", "/")),
)
"""The two special characters of base64, as written in URLs and JSON."""
_COLUMNS: Final = (64, 76)
"""Lengths at which programs break base64 into lines."""


@dataclass(frozen=True)
class Form:
    """A form in which a secret is written."""

    anchor: str
    """A substring of every text that contains the form; may be empty."""
    longest: int
    """Maximum length of the form; it is longer if a program adds backslashes or white space."""
    pattern: re.Pattern[str] | None = None
    """Pattern of the form; None if the form equals the anchor."""
    in_token: bool = False
    """Whether the form is part of a longer token that is masked as a whole, such as the base64 of user and password."""
    mark: str = ""
    """A substring of every text that contains any form of this kind. Without it, the whole kind can be skipped."""


def is_weak(value: str, known: frozenset[str] = frozenset()) -> bool:
    """Return whether a value is too short or too common to be masked everywhere, or is a `known` one."""
    plain = value.strip()
    return len(plain) < SHORTEST or plain.casefold() in COMMON or plain in known or (plain.isdigit() and len(plain) < _FEWEST_DIGITS)


def parts(value: str) -> Iterator[str]:
    """Yield the value, and the parts of it that are secret by themselves, such as a token, a password, a path or a query."""
    plain = value.strip()
    yield plain
    if not plain.isascii():
        yield from (unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain), unicodedata.normalize("NFKC", plain))
    scheme, _, token = plain.partition(" ")
    is_line = len(plain.splitlines()) == 1
    if token and is_line and scheme.isalpha():
        yield token.strip()
        if scheme.casefold() == "basic":
            yield from _basic(token.strip())
    elif plain.startswith(("{", "[")):
        yield from _json_leaves(plain)
    elif (pair := _PAIR.fullmatch(plain)) and not is_weak(pair.group(1)):
        yield pair.group(1)
    if "://" in plain and is_line:
        yield from _of_url(plain)
    for match in _ASSIGNED.finditer(plain):
        assigned = match.group(1).strip("'\"")
        yield from (assigned, re.sub(r"\\(.)", r"\1", assigned))


def lines(value: str) -> Iterator[str]:
    """Yield the lines of a value with several lines, since programs may show a single line."""
    found = [line.strip() for line in value.strip().splitlines()]
    if len(found) > 1:
        yield from (line for line in found if line and not line.startswith("-----"))


def _basic(token: str) -> Iterator[str]:
    try:
        _, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        return
    if colon:
        yield password


def _of_url(url: str) -> Iterator[str]:
    try:
        split = urlsplit(url)
        password = split.password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))
    path = split.path.strip("/")
    if "/" in path:
        yield path
    segments = [segment for segment in path.split("/") if len(segment) >= _FEWEST_DIGITS and not _WORD_TOKEN.fullmatch(segment)]
    yield from segments
    if split.query:
        yield split.query
        yield from (content for part in split.query.split("&") if len(content := part.partition("=")[2]) >= _FEWEST_DIGITS)


def _json_leaves(text: str) -> Iterator[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    inner: list[tuple[str, object]] = [("", found)]
    while inner:
        key, each = inner.pop()
        if isinstance(each, dict):
            inner += [(str(name).casefold(), leaf) for name, leaf in each.items()]
        elif isinstance(each, list):
            inner += [(key, leaf) for leaf in each]
        elif isinstance(each, str) and any(word in key for word in ("auth", "cred", "key", "pass", "secret", "token")):
            yield each
            yield from _basic(each)
        elif isinstance(each, str) and "://" in each:
            yield from _of_url(each)


def forms(value: str, is_line: bool = False) -> Iterator[Form]:
    """Yield the forms of a value. For a line of a longer value, encoded forms are left out; for binary and very long values, patterns."""
    raw = value.encode(errors="surrogateescape")
    yield _escaped(value, is_line or len(value) > _LONG) if len(value) <= _LARGE and "\0" not in value else Form(value, len(value))
    if is_line:
        return
    # PostgreSQL folds names to lower case.
    yield from (Form(cased, len(cased)) for cased in (value.lower(), value.upper()) if cased != value)
    yield from _wholly_escaped(value, raw)
    quoted = json.dumps(value, ensure_ascii=False)[1:-1].encode(errors="surrogateescape")
    for encoded in sorted({*_base64(raw), *_base64(quoted)}, key=len, reverse=True):
        for text in {encoded.replace("+", plus).replace("/", slash) for plus, slash in _LAST_OF_BASE64}:
            yield Form(text, len(text) + 2 * TOKEN_REACH, in_token=True)


def fragments(value: str) -> tuple[str, str] | None:
    """Return the beginning and the end of a long value, by which truncated copies are recognised; None if it is short, or a URL."""
    if len(value) < _ENDS or "://" in value:
        return None
    return value[:_FRAGMENT], value[-_FRAGMENT:]


def weak_forms(value: str, users: Iterable[str]) -> Iterator[Form]:
    """Yield the forms in which even a weak value is masked, because its context shows that it is a secret."""
    plain = re.escape(value.strip())
    if plain:
        yield Form(value.strip(), len(value), re.compile(rf"(?<=:){plain}(?=@)"))
        yield Form(value.strip(), len(value) + 2, re.compile(rf"(?i)(?<=password=)['\"]?{plain}\b['\"]?"))
        for user in users:
            encoded = base64.b64encode(f"{user}:{value.strip()}".encode(errors="surrogateescape")).decode().rstrip("=")
            yield Form(encoded, len(encoded) + 2, in_token=True)


def _wholly_escaped(value: str, raw: bytes) -> Iterator[Form]:
    """Yield the forms in which every character of a value is escaped, so that none of them is left as an anchor."""
    points = [ord(each) for each in value]
    found = [("&#", "".join(f"&#{point};" for point in points))]
    for case in ("x", "X"):
        found += [(mark, "".join(f"{mark}{byte:02{case}}" for byte in raw)) for mark in ("", "%", "%25", "\\x", "=")]
        found.append(("\\u", "".join(f"\\u{point:04{case}}" for point in points)))
        found.append(("&#x", "".join(f"&#x{point:{case}};" for point in points)))
    yield from (Form(text, len(text), mark=mark) for mark, text in found)


def _base64(raw: bytes) -> Iterator[str]:
    """Yield the base64 forms of a value within a longer encoded text: three, which differ by the number of bytes before it."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        core = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(core) >= SHORTEST:
            yield core
    whole = base64.b64encode(raw).decode().rstrip("=")
    for width in (each for each in _COLUMNS if each < len(whole)):
        yield from (line for at in range(0, len(whole), width) if len(line := whole[at : at + width]) >= SHORTEST)


def _escaped(value: str, is_long: bool) -> Form:
    """Return the form of a value with any of its characters escaped in any way; its white space may be replaced or removed."""
    pieces, longest = [], 0
    for word in re.findall(r"\s+|[A-Za-z0-9]+|\\+|'+|\"+|.", value):
        if word.isspace():
            further = "".join(f"|{_special(each)[0]}" for each in sorted(set(word) - set(string.whitespace)))
            piece, width = f"(?:{_BLANK}{further})*", 12 * len(word)
        elif word.isascii() and word.isalnum():
            piece, width = word, len(word)
        elif is_long and word in _OF_BASE64:
            piece, width = rf"(?:\\*+{re.escape(word)}|{_PERCENT}{_hex(ord(word))})", 12
        else:
            piece, width = _special(word)
        pieces.append(piece)
        longest += width
    return Form(_run(value), longest, re.compile("".join(pieces)))


_PERCENT: Final = "[%=](?:25)*"
_SEMI: Final = rf"(?:;|{_PERCENT}3[bB])"
_AMP: Final = rf"(?:&|{_PERCENT}26|\\*u0026)(?:amp{_SEMI})*"
_CODE: Final = rf"{_AMP}(?:#|{_PERCENT}23)"
"""Beginning of a numeric character reference in HTML; any of its characters may be encoded for a URL or JSON."""
_BACK: Final = rf"(?:\\|{_PERCENT}5[cC]|{_CODE}0*92{_SEMI})"
"""A backslash, which may be encoded itself."""
_BLANK: Final = (
    rf"\s|\+|{_PERCENT}(?:20|0[aAdD9bBcC]|2[bB])|{_BACK}++(?:[nrtfv]|x0[aAdD9bBcC]|x20|u00(?:20|0[aAdD9bBcC]))"
    rf"|{_AMP}(?:nbsp|NewLine|Tab){_SEMI}|{_CODE}(?:[xX]0*(?:20|[aAdD9])|0*(?:32|10|13|9)){_SEMI}"
)
"""White space in all forms in which programs write it."""


@lru_cache(maxsize=512)
def _special(word: str) -> tuple[str, int]:
    """Return the pattern and the maximum length of a special character, or of a sequence of the same one: neither ASCII letter nor digit.

    Quantifiers of backslashes are possessive, so that the time of a search depends only on the length of the text.
    """
    each, count = word[0], len(word)
    raw = each.encode(errors="surrogateescape")
    point = ord(each)
    units = each.encode("utf-16-be", errors="surrogatepass")
    ways = [
        re.escape(each),
        "".join(rf"{_PERCENT}{_hex(byte)}" for byte in raw),
        rf"{_BACK}*+".join(rf"x{_hex(byte)}" for byte in raw),
        rf"{_BACK}*+".join(rf"{byte:03o}" for byte in raw),
        rf"{_BACK}*+".join(rf"u{_hex(units[at])}{_hex(units[at + 1])}" for at in range(0, len(units), 2)),
        rf"{_CODE}0*{point}{_SEMI}",
        rf"{_CODE}[xX]0*{_hex_digits(f'{point:x}')}{_SEMI}",
        *([rf"{_AMP}{codepoint2name[point]}{_SEMI}"] if point in codepoint2name else []),
        *([rf"{_AMP}apos{_SEMI}"] if each == "'" else []),
    ]
    if not each.isascii():
        ways += [rf"U{_hex_digits(f'{point:08x}')}", r"\?", "\ufffd++", re.escape(raw.decode("latin-1"))]
        ways += [rf"x{_hex(point)}", rf"{_PERCENT}{_hex(point)}"] if point < 256 else []
    if each == "\\":
        return rf"(?:{_BACK}|{'|'.join(ways[3:])})++", 12 * count
    # Programs put backslashes before it, and double them each time they quote; SQL doubles quotes.
    times = f"{{{count},{4 * count}}}" if each in "\"'" else ""
    return f"(?:{_BACK}*+(?:{'|'.join(dict.fromkeys(ways))})){times}", count * max(12, 8 * len(raw))


def _hex(byte: int) -> str:
    return _hex_digits(f"{byte:02x}")


def _hex_digits(text: str) -> str:
    return "".join(f"[{each}{each.upper()}]" if each.isalpha() else each for each in text)


def _run(value: str) -> str:
    """Return the longest sequence of letters and digits, which programs never escape one by one."""
    runs: list[str] = re.findall(r"[A-Za-z0-9]+", value)
    return max(runs, key=len, default="")
