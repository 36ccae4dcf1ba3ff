"""Reads run requests from a file or from the environment of a pod. Every problem is reported with its field."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from refresh_api import renamed
from refresh_api.names import KIND, RUN_REQUEST_ENV
from refresh_api.run_request import Manifest, RunMode, RunRequest, run_vars, vars_text
from refresh_api.status import clip
from refresh_runner.model.kubectl_yaml import KubectlLoader

_MAX_BYTES: Final = 256 * 1024
"""Maximum number of bytes in a file: twice what fits into a pod's environment."""
_MAX_DEPTH: Final = 64
"""Maximum depth of lists and mappings; dbt variables may use half of it."""
_MAX_VALUES: Final = 100_000
"""Maximum number of values in a document, with its aliases expanded."""
_MAX_ERRORS: Final = 50
_MAX_MESSAGE: Final = 500
"""Maximum number of characters in an error message."""
_MAX_FIELD: Final = 64
"""Maximum number of characters in a field's name."""


@dataclass(frozen=True)
class FieldError:
    """An error in one field of a run request."""

    field: str
    message: str

    def __str__(self) -> str:
        """Return field and message in one line."""
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidRunRequestError(ValueError):
    """An invalid run request, with all errors in it."""

    def __init__(self, problems: Sequence[FieldError]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def run_request_from_file(path: Path, mode: str | None = None, variables: Sequence[str] = ()) -> RunRequest:
    """Return the run request of a DashboardRefresh file, with a mode and additional dbt variables as NAME=VALUE.

    Raise InvalidRunRequestError, which lists all errors, if it is invalid.
    """
    run_request = manifest_of(document_of(path)).run_request()
    asked = run_request.mode if mode is None else mode
    _check_mode(asked, run_request)
    try:
        text = vars_text(variables)
    except ValueError as error:
        raise InvalidRunRequestError([FieldError("var", str(error))]) from error
    return run_request.model_copy(update={"mode": asked, "vars": run_vars(text) if text else {}})


class _TooLargeError(Exception):
    """A file that is too large or too deep to be a refresh, and could exhaust memory."""


class _StrictLoader(KubectlLoader):
    """Rejects duplicate keys, which YAML forbids; PyYAML would silently use the last one.

    Also limits the depth, because PyYAML recurses for each level.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _TooLargeError(f"nested too deeply: at most {_MAX_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen = set()
        # PyYAML itself rejects keys that are neither strings nor numbers
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is a duplicate key", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def document_of(path: Path) -> object:
    """Return the single YAML document of a file. Raise InvalidRunRequestError if the file cannot be read or contains no such document."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRunRequestError([FieldError("", f"cannot read {path}: {error.strerror}")]) from error
    documents = documents_in(content, str(path))
    if len(documents) != 1:
        raise InvalidRunRequestError([FieldError("", f"{path} holds {len(documents)} documents; put one {KIND} in each file")])
    return documents[0]


def documents_in(content: bytes, name: str) -> list[object]:
    """Return the YAML documents of a file's content, without empty ones. Raise InvalidRunRequestError if it is too large or no YAML."""
    if len(content) > _MAX_BYTES:
        raise InvalidRunRequestError([FieldError("", f"{name} is longer than {_MAX_BYTES} bytes")])
    try:
        return [document for document in _documents(content.decode()) if document is not None]
    except _TooLargeError as error:
        raise InvalidRunRequestError([FieldError("", f"{name}: {error}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidRunRequestError(
            [FieldError("", f"{name} is not valid YAML: {clip(' '.join(str(error).split()), _MAX_MESSAGE)}")]
        ) from error


def _documents(text: str) -> Iterator[object]:
    """Yield the documents of a YAML text. Check their size with aliases expanded first."""
    # a subclass of PyYAML's SafeLoader
    loader = _StrictLoader(text)
    while loader.check_node():
        node = loader.get_node()
        if node is None:
            continue
        if _value_count(node) > _MAX_VALUES:
            raise _TooLargeError(f"its aliases expand to more than {_MAX_VALUES} values")
        yield loader.construct_document(node)


def _value_count(top: yaml.Node) -> int:
    """Return the number of values in a node, with aliases expanded. Raise _TooLargeError if a node contains itself."""
    sizes: dict[int, int] = {}
    under_way: set[int] = set()
    stack = [top]
    while stack:
        node = stack[-1]
        inner = _children(node)
        new = [each for each in inner if id(each) not in sizes]
        if new:
            under_way.add(id(node))
            if any(id(each) in under_way for each in new):
                raise _TooLargeError("an alias refers to a node that contains it")
            stack += new
        else:
            sizes[id(node)] = 1 + sum(sizes[id(each)] for each in inner)
            under_way.discard(id(node))
            stack.pop()
    return sizes[id(top)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def manifest_of(document: object) -> Manifest:
    """Return the refresh in a document. Raise InvalidRunRequestError, which lists every invalid field, if it is invalid."""
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise InvalidRunRequestError(_field_errors(error)) from error


def run_request_from_pod(variables: Mapping[str, str]) -> RunRequest:
    """Return the run request that the operator gave the pod. Raise InvalidRunRequestError if there is none or it is invalid."""
    text = variables.get(RUN_REQUEST_ENV)
    if not text:
        raise InvalidRunRequestError([FieldError(RUN_REQUEST_ENV, "is not set; outside a pod, give a file")])
    try:
        run_request = RunRequest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRunRequestError(_field_errors(error)) from error
    _check_mode(run_request.mode, run_request)
    return run_request


def _check_mode(mode: str, run_request: RunRequest) -> None:
    """Raise InvalidRunRequestError if a mode is unknown or names a step that the refresh does not have."""
    try:
        RunMode.parse(mode).check(run_request.spec.step_names)
    except ValueError as error:
        raise InvalidRunRequestError([FieldError("mode", str(error))]) from error


def _field_errors(error: ValidationError) -> list[FieldError]:
    found = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        field = ""
        for part in detail["loc"]:
            name = part if isinstance(part, int) else clip(part, _MAX_FIELD)
            field += f"[{name}]" if isinstance(part, int) else f".{name}" if field else str(name)
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = renamed.message_for(detail["loc"]) or "unknown field"
        found.append(FieldError(clip(field, _MAX_MESSAGE), "is missing" if detail["type"] == "missing" else clip(message, _MAX_MESSAGE)))
    more = len(found) - _MAX_ERRORS
    return [*found[:_MAX_ERRORS], *([FieldError("", f"and {more} more")] if more > 0 else [])]
