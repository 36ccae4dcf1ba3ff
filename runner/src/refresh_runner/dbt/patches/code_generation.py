"""Makes mashumaro generate the code of dbt's classes at their first use, not at import.

dbt requests this (`lazy_compilation`), but mashumaro still compiles four functions for each of 300 classes at import, each of which
compiles another one when it is called. That takes a third of the time of dbt's import. With this patch the four are closures, and their
first call makes mashumaro compile the usual code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

if TYPE_CHECKING:
    from mashumaro.core.meta.code.builder import CodeBuilder, InternalMethodName

Method = Callable[..., object]
Compile = Callable[..., None]
"""Takes a class and mashumaro's parameters for a format, and sets one method under two names."""

_BUILDER: Final = "mashumaro.core.meta.code.builder"
_MIXINS: Final = "mashumaro.mixins.dict"
PATCH: Final = Patch(
    name="code_generation",
    purpose="Code is generated only for classes that are used.",
    symbols=(
        Symbol(_MIXINS, "compile_mixin_packer", "cls, format_name, dialect, encoder, encoder_kwargs"),
        Symbol(_MIXINS, "compile_mixin_unpacker", "cls, format_name, dialect, decoder"),
        Symbol(_BUILDER, "CodeBuilder.get_pack_method_name", "cls, type_args, format_name, encoder", "classmethod"),
        Symbol(_BUILDER, "CodeBuilder.get_unpack_method_name", "cls, type_args, format_name, decoder", "classmethod"),
        Symbol(_BUILDER, "CodeBuilder.add_pack_method", "self"),
        Symbol(_BUILDER, "CodeBuilder.add_unpack_method", "self"),
    ),
    saves_ms=1100,
)


@PATCH.once
def delay_code_generation() -> None:
    """Apply the patch to all classes that are defined from now on, for the lifetime of the process."""
    from mashumaro.core.meta.code.builder import CodeBuilder
    from mashumaro.mixins import dict as mixins

    def name_of_packer(format_name: str, coders: Mapping[str, object]) -> InternalMethodName:
        return CodeBuilder.get_pack_method_name((), format_name, coders.get("encoder"))

    def name_of_unpacker(format_name: str, coders: Mapping[str, object]) -> InternalMethodName:
        return CodeBuilder.get_unpack_method_name((), format_name, coders.get("decoder"))

    # The common base class calls them by these names.
    vars(mixins).update(
        compile_mixin_packer=_later(CodeBuilder, CodeBuilder.add_pack_method, name_of_packer, _plain),
        compile_mixin_unpacker=_later(CodeBuilder, CodeBuilder.add_unpack_method, name_of_unpacker, classmethod),
    )


def _plain(method: Method) -> object:
    return method


def _later(
    builder: Callable[..., CodeBuilder],
    add_to: Callable[[CodeBuilder], None],
    name_of: Callable[[str, Mapping[str, object]], InternalMethodName],
    bound: Callable[[Method], object],
) -> Compile:
    """Return the function that a class calls when it is defined, in place of the one that compiles at once."""

    def compile_later(cls: type, format_name: str = "dict", dialect: type | None = None, **coders: object) -> None:
        name = name_of(format_name, coders)

        def method(owner: object, /, *args: object, **kwargs: object) -> object:
            # Replaces this method with the compiled one, under both names.
            add_to(builder(cls, format_name=format_name, default_dialect=dialect, allow_postponed_evaluation=False, **coders))
            return getattr(owner, name)(*args, **kwargs)

        for each in (name, name.public):
            setattr(cls, each, bound(method))

    return compile_later
