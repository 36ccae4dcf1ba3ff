"""Parser for objects from the API server. An object that cannot be parsed does not hide the others; pure.

Kubernetes accepts objects that the JSON parser rejects, such as thousands of nested lists or megabytes of text. If a text cannot be
parsed as a whole, its members are parsed one by one. Members that cannot be parsed are omitted, and the object lists them.
"""

import re
from typing import Final, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import from_json

Json = dict[str, JsonValue]
"""An object as the API server sends it."""
Readable = TypeVar("Readable", bound=BaseModel)

LARGEST: Final = 512 * 1024
"""Maximum bytes of an object to parse. A status has at most 64 KiB, a run request 128 KiB."""
UNREADABLE: Final = "unreadable"
"""Member that is added to an object with omitted fields: their paths, each with the reason why it cannot be read."""
_WHOLE: Final = 8 * 2**20
"""Maximum bytes of a list to parse at once; the items of a longer list are parsed one by one."""
_DEEPEST: Final = 5
"""Levels of an object whose members are parsed one by one."""
_NOISE: Final = "metadata.managedFields"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[\[\]{},:]', re.DOTALL)
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)|[\[{]++|[\]}]++', re.DOTALL)
"""The tokens that matter for finding the end of an object or a list: a string, or a sequence of equal brackets."""
_OPEN: Final = frozenset(b"[{")
_CLOSE: Final = frozenset(b"]}")
_NAME: Final = 64
"""Maximum length of a field's name in a path."""
_NAMED: Final = 20
"""Maximum number of omitted fields that are listed."""
_LEVELS: Final = 200
"""Maximum depth of nesting that the parser accepts."""
AT_ONCE: Final = 2**18
"""Bytes of a list to collect before it is split. An incomplete string is scanned again from its start, so small parts are slow."""


def object_of(text: bytes, largest: int = LARGEST) -> Json:
    """Return the object of a JSON text, without members that cannot be parsed or exceed `largest`; ValueError if it is not an object.

    Omits managedFields: they are not used, and are nested as deeply as the object itself.
    """
    try:
        found = from_json(text, allow_inf_nan=False) if len(text) <= largest else None
    except ValueError:
        found = None
    if found is None:
        return _salvaged(text, largest)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return _as_sent(found)


def event_of(line: bytes) -> tuple[str, Json]:
    """Return the type and the object of one line of a watch; ValueError if it is not a watch event."""
    try:
        found = from_json(line, allow_inf_nan=False) if len(line) <= LARGEST else None
    except ValueError:
        found = None
    if found is None:
        parts = {_name(key): value for key, value in members(line)}
        return str(from_json(parts.get("type", b"null"))), object_of(parts.get("object", b""))
    item = found.get("object") if isinstance(found, dict) else None
    if not isinstance(item, dict):
        raise ValueError("not an event with an object")
    return str(found["type"]) if "type" in found else "", _as_sent(item)


def unreadable(item: Json) -> dict[str, str]:
    """Return the omitted fields of an object, each with the reason: `spec.dbt.vars.x`, `is nested too deeply`."""
    said = item.get(UNREADABLE)
    return {path: str(why) for path, why in said.items()} if isinstance(said, dict) else {}


def readable(model: type[Readable], value: object) -> tuple[Readable, str]:
    """Return the valid fields of a part of an object as a model whose fields are all optional, and the first error or an empty text."""
    try:
        return model.model_validate(value, extra="ignore"), ""
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    wrong = ".".join(_clipped(str(part)) for part in first["loc"]) + f": {first['msg']}"
    fields = {}
    for name, info in model.model_fields.items():
        key = info.alias or name
        if isinstance(value, dict) and key in value:
            try:
                model.model_validate({key: value[key]}, extra="ignore")
            except ValidationError:
                continue
            fields[key] = value[key]
    return model.model_validate(fields, extra="ignore"), wrong.removeprefix(": ")


def members(text: bytes) -> list[tuple[bytes, bytes]]:
    """Return the key and value of each member of an object, or an empty key and each item of a list, as text; ValueError for others."""
    found = []
    position, begin, key, is_open = 0, 0, b"", False
    while match := _TOKEN.search(text, position):
        token, position = text[match.start()], match.end()
        if token in _OPEN and is_open:
            position = _end_of(text, match.start())
        elif token in _OPEN:
            begin, is_open = position, True
        elif token in _CLOSE or token == ord(","):
            if value := text[begin : match.start()].strip():
                found.append((key, value))
            if token in _CLOSE:
                return found
            key, begin = b"", position
        elif token == ord(":"):
            key, begin = text[begin : match.start()].strip(), position
    raise ValueError("the JSON text ends too early")


def _end_of(text: bytes, start: int) -> int:
    """Return the position after the object or list that begins at `start`; ValueError if it does not end."""
    depth = 0
    for match in _BRACKETS.finditer(text, start):
        token = text[match.start()]
        if token in _OPEN:
            depth += match.end() - match.start()
        elif token in _CLOSE:
            depth -= match.end() - match.start()
            if depth <= 0:
                return match.end() + depth
    raise ValueError("the JSON text ends too early")


def _salvaged(text: bytes, largest: int) -> Json:
    if text.lstrip()[:1] != b"{":
        raise ValueError("not a JSON object")
    said: Json = {}
    found = _read_members(members(text), "", said, largest)
    found.pop(UNREADABLE, None)
    return {**found, UNREADABLE: said} if said else found


def _read_members(those: list[tuple[bytes, bytes]], path: str, said: Json, largest: int) -> Json:
    found: Json = {}
    for key, value in those:
        name = _name(key)
        where = f"{path}.{_clipped(name)}" if path else _clipped(name)
        if where == _NOISE:
            continue
        why = f"is {len(value)} bytes long; at most {largest} are read"
        if len(value) <= largest:
            try:
                found[name] = from_json(value, allow_inf_nan=False)
                continue
            except ValueError as error:
                why = f"is nested too deeply: over {_LEVELS} levels" if "recursion" in str(error) else f"cannot be read: {error}"
        found.pop(name, None)
        inner = members(value) if value[:1] == b"{" and where.count(".") < _DEEPEST - 1 else []
        # members that are only together too long are omitted together
        if inner and (len(value) <= largest or any(len(each) > largest for _, each in inner)):
            found[name] = _read_members(inner, where, said, largest)
        elif len(said) < _NAMED:
            said[where] = why
    return found


def _name(key: bytes) -> str:
    try:
        return str(from_json(key))
    except ValueError:
        return key.decode(errors="replace")


def _clipped(name: str) -> str:
    """Return the name of a field, shortened for a path in a message."""
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


class ItemCutter:
    """A splitter of the JSON text of a list, fed in parts, into the texts of its items. It keeps the text around the items."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._text = b""
        self._fed: list[bytes] = []
        self._scanned = 0
        self._depth = 0
        self._key = b""
        self._inside = False
        """Whether the position is among the items."""
        self._rest: list[bytes] = []

    def feed(self, text: bytes) -> list[bytes]:
        """Add a part of the text; return the items that are now complete."""
        self._fed.append(text)
        return self._cut() if sum(map(len, self._fed)) >= self._at_once else []

    def end(self) -> tuple[list[bytes], Json]:
        """Return the last items, and the list without its items; ValueError if the list cannot be parsed."""
        items = self._cut()
        if self._depth or self._inside:
            raise ValueError("the JSON text ends too early")
        found = from_json(b"".join([*self._rest, self._text]), allow_inf_nan=False)
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
        return items, found

    def _cut(self) -> list[bytes]:
        self._text = b"".join([self._text, *self._fed])
        self._fed = []
        items: list[bytes] = []
        begin = 0
        while match := (_BRACKETS if self._inside and self._depth > 2 else _TOKEN).search(self._text, self._scanned):
            if match[1] is not None and match[1] != b'"':
                break  # the string continues in the next part
            token, self._scanned = self._text[match.start()], match.end()
            if self._inside:
                begin = self._in_items(token, match, begin, items)
            elif token in _OPEN:
                self._depth += 1
                if self._depth == 2 and token == ord("[") and self._key == b'"items"':
                    self._inside = True
                    self._rest.append(self._text[: match.end()])
                    begin = match.end()
            elif token in _CLOSE:
                self._depth -= 1
            elif token == ord('"') and self._depth == 1:
                self._key = match[0]
        if begin:
            self._text, self._scanned = self._text[begin:], self._scanned - begin
        return items

    def _in_items(self, token: int, match: re.Match[bytes], begin: int, items: list[bytes]) -> int:
        """Process a token among the items; return the position from which the text is still needed."""
        if token in _OPEN:
            if self._depth == 2:
                begin = match.start()
            self._depth += match.end() - match.start()
        elif token in _CLOSE:
            # a sequence of brackets may end more than the item
            self._scanned = min(match.end(), match.start() + max(1, self._depth - 2))
            self._depth -= self._scanned - match.start()
            if self._depth == 2:
                items.append(self._text[begin : self._scanned])
                return self._scanned
            if self._depth == 1:
                self._inside = False
                return match.start()
        elif self._depth == 2:
            return match.end()
        return begin


class ListReader:
    """A reader of a list that arrives in parts. It parses the list as a whole, or item by item if that fails or the list is long."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._cutter: ItemCutter | None = None

    def feed(self, text: bytes) -> list[Json]:
        """Add a part of the text; return the items that could be parsed."""
        if self._cutter:
            return [object_of(each) for each in self._cutter.feed(text)]
        self._parts.append(text)
        self._length += len(text)
        return self._item_by_item() if self._length > _WHOLE else []

    def end(self) -> tuple[list[Json], Json]:
        """Return the remaining items, and the list without its items; ValueError if it is not a list."""
        items: list[Json] = []
        if self._cutter is None:
            try:
                return _whole(b"".join(self._parts))
            except ValueError:
                items = self._item_by_item()
        last, rest = self._cutter.end() if self._cutter else ([], {})
        return [*items, *map(object_of, last)], rest

    def _item_by_item(self) -> list[Json]:
        self._cutter = ItemCutter()
        items = self._cutter.feed(b"".join(self._parts))
        self._parts = []
        return [object_of(each) for each in items]


def _whole(text: bytes) -> tuple[list[Json], Json]:
    found = from_json(text, allow_inf_nan=False)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    listed = found.pop("items", None)
    items = [_as_sent(each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return items, found


def _as_sent(item: Json) -> Json:
    item.pop(UNREADABLE, None)
    return without_noise(item)


def without_noise(item: Json) -> Json:
    """Return a parsed object without its managedFields."""
    if isinstance(metadata := item.get("metadata"), dict):
        metadata.pop("managedFields", None)
    return item
