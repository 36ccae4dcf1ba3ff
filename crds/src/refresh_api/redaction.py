"""Redaction of secret values in texts.

Redact first, clip last: a secret that was cut off by clipping can no longer be recognised.
"""

import re
import string
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from pydantic import JsonValue

from refresh_api.secret_forms import SHORTEST, TOKEN_REACH, Form, forms, fragments, is_weak, lines, parts, weak_forms
from refresh_api.status import MESSAGE_LENGTH, clip

MASK: Final = "***"
_NAME: Final = re.compile(r"[a-z_]+")
"""A key that a program defines, and hence not a secret."""
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "+/-_=")


class Redactor:
    """A callable that replaces secret values by a mask, in every form in which programs write them.

    Weak values (shorter than four characters, common words, short numbers, and `known` values, such as a user's name) are masked only if
    they are the whole text, in a URL, after `password=` and in a Basic header. Masked elsewhere, they could be guessed from the context.
    """

    def __init__(self, values: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        names = frozenset(name for name in known if name)
        found = {part for value in values for part in parts(value) if part}
        of_longer = {line for part in found for line in lines(part)} - found
        found |= of_longer
        strong = sorted((part for part in found if not is_weak(part, names)), key=len, reverse=True)
        weak = sorted(found - set(strong), key=len, reverse=True)
        self._alone = frozenset(part.casefold() for part in weak if len(part) >= SHORTEST)
        found_forms = [
            *(form for part in strong for form in forms(part, part in of_longer)),
            *(form for part in weak for form in weak_forms(part, names)),
        ]
        self._forms = {mark: [form for form in found_forms if form.mark == mark] for mark in sorted({form.mark for form in found_forms})}
        self._ends = [(part, *ends) for part in strong if (ends := fragments(part))]

    @property
    def longest(self) -> int:
        """Length of the longest form of a secret."""
        return max((form.longest for of_kind in self._forms.values() for form in of_kind), default=0)

    def __call__(self, text: str) -> str:
        """Return the text with its secrets masked."""
        return MASK if self._alone and text.strip().casefold() in self._alone else self._searched(text)

    def _searched(self, text: str) -> str:
        for mark, of_kind in self._forms.items():
            if mark in text:
                for form in of_kind:
                    if form.anchor in text:
                        text = _without(text, form)
        for value, begin, end in self._ends:
            if begin in text or end in text:
                text = _without_pieces(text, value, begin, end)
        return text

    def clipped(self, text: str, length: int = MESSAGE_LENGTH) -> str:
        """Return the text with its secrets masked, and then clipped to at most `length` characters."""
        return clip(self(text), length)

    def inside(self, value: JsonValue, keep: frozenset[str] = frozenset()) -> JsonValue:
        """Return a JSON value with the secrets in its strings masked. Values of fields in `keep` are unchanged."""
        if isinstance(value, dict):
            return {
                key if _NAME.fullmatch(key) else self._searched(key): inner if key in keep else self.inside(inner, keep)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.inside(inner, keep) for inner in value]
        return self(value) if isinstance(value, str) else value


def _without(text: str, form: Form) -> str:
    if form.pattern:
        return form.pattern.sub(MASK, text)
    return _without_tokens(text, form.anchor) if form.in_token else text.replace(form.anchor, MASK)


def _without_tokens(text: str, core: str) -> str:
    """Return the text without the tokens that contain the core: the rest of a token encodes the secret's first and last letters."""
    kept, done = [], 0
    while (found := text.find(core, done)) >= 0:
        first, last = found, found + len(core)
        while first > max(done, found - TOKEN_REACH) and text[first - 1] in _TOKEN:
            first -= 1
        while last < min(len(text), found + len(core) + TOKEN_REACH) and text[last] in _TOKEN:
            last += 1
        kept += [text[done:first], MASK]
        done = last
    return "".join([*kept, text[done:]])


def _without_pieces(text: str, value: str, begin: str, end: str) -> str:
    """Return the text without truncated copies of a value, which have the same beginning or end as the value."""
    kept, done = [], 0
    while (first := text.find(begin, done)) >= 0:
        last, size = first + len(begin), len(begin)
        while last < len(text) and size < len(value) and text[last] == value[size]:
            last, size = last + 1, size + 1
        kept += [text[done:first], MASK]
        done = last
    text, kept, done = "".join([*kept, text[done:]]), [], 0
    while (found := text.find(end, done)) >= 0:
        first, size = found, len(value) - len(end)
        while first > done and size > 0 and text[first - 1] == value[size - 1]:
            first, size = first - 1, size - 1
        kept += [text[done:first], MASK]
        done = found + len(end)
    return "".join([*kept, text[done:]])


PUBLIC_KEYS: Final = frozenset({"host", "port", "dbname", "user", "sslmode", "sslrootcert", "from", "security"})
"""Keys of a warehouse's or mail server's Secret whose values are not secret, and help to find the cause of an error."""


def secret_values(secrets: Mapping[str, Mapping[str, str]], single: Collection[tuple[str, str]] = ()) -> list[str]:
    """Return the values of Secrets to redact: all values except public ones, such as hosts and user names.

    `single` has pairs of Secret and key that are always redacted, whatever the key is called, such as the URL of a webhook.
    """
    return [value for name, keys in secrets.items() for key, value in keys.items() if key not in PUBLIC_KEYS or (name, key) in single]


def known_values(secrets: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the public values of Secrets. A password that equals one of them is weak."""
    return [value for keys in secrets.values() for key, value in keys.items() if key in PUBLIC_KEYS and "\n" not in value.strip()]
