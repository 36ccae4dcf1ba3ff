"""dbt's classes without the code that mashumaro writes for each of them at import, until one of them is read or written.

dbt asks for that (`lazy_compilation`), and still gets four functions compiled for each of 300 classes, each of which compiles another
one when it is called: a third of the time that dbt takes to be imported. Here the first four are closures. What the first call of
each compiles is mashumaro's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

if TYPE_CHECKING:
    from mashumaro.core.meta.code.builder import CodeBuilder, InternalMethodName

Method = Callable[..., object]
Compile = Callable[..., None]
"""Takes a class and mashumaro's parameters for one of its formats; sets one method, under two names."""

schemas: Final[dict[str, JsonValue]] = {}
"""The JSON schemas of dbt's classes that were asked for so far or were known ahead, by the class's full name."""


@cache
def spare_code_generation() -> None:
    """Have classes that are made from now on compile nothing before they are used; once is enough."""
    from mashumaro.core.meta.code.builder import CodeBuilder
    from mashumaro.mixins import dict as mixins

    def name_of_packer(format_name: str, coders: Mapping[str, object]) -> InternalMethodName:
        return CodeBuilder.get_pack_method_name((), format_name, coders.get("encoder"))

    def name_of_unpacker(format_name: str, coders: Mapping[str, object]) -> InternalMethodName:
        return CodeBuilder.get_unpack_method_name((), format_name, coders.get("decoder"))

    # The name by which the base of all classes calls them.
    vars(mixins).update(
        compile_mixin_packer=_later(CodeBuilder, CodeBuilder.add_pack_method, name_of_packer, _plain),
        compile_mixin_unpacker=_later(CodeBuilder, CodeBuilder.add_unpack_method, name_of_unpacker, classmethod),
    )


@cache
def spare_schemas() -> None:
    """Have dbt make the JSON schema of a class only if it is not among those known: to look at a project, it makes those of 150."""
    from dbt_common.dataclass_schema import dbtClassMixin

    make = vars(dbtClassMixin)["json_schema"].__func__

    def json_schema(cls: type) -> JsonValue:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in schemas:
            schemas[name] = make(cls)
        return schemas[name]

    dbtClassMixin.json_schema = classmethod(json_schema)  # type: ignore[method-assign, assignment]


def _plain(method: Method) -> object:
    return method


def _later(
    builder: Callable[..., CodeBuilder],
    add_to: Callable[[CodeBuilder], None],
    name_of: Callable[[str, Mapping[str, object]], InternalMethodName],
    bound: Callable[[Method], object],
) -> Compile:
    """Return what a class that is made calls, in the place of what compiles at once."""

    def compile_later(cls: type, format_name: str = "dict", dialect: type | None = None, **coders: object) -> None:
        name = name_of(format_name, coders)

        def method(owner: object, /, *args: object, **kwargs: object) -> object:
            # Sets the real one under both names, in the place of this one.
            add_to(builder(cls, format_name=format_name, default_dialect=dialect, allow_postponed_evaluation=False, **coders))
            return getattr(owner, name)(*args, **kwargs)

        for each in (name, name.public):
            setattr(cls, each, bound(method))

    return compile_later
