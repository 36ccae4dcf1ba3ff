"""Serialization code of dbt's classes is compiled when it is first used."""

from __future__ import annotations

from dataclasses import dataclass, field

from mashumaro.config import BaseConfig
from mashumaro.mixins.msgpack import DataClassMessagePackMixin

from refresh_runner.dbt.patches.code_generation import delay_code_generation

delay_code_generation()


class Lazy(DataClassMessagePackMixin):
    """A class like the base class of dbt's own classes."""

    class Config(BaseConfig):
        lazy_compilation = True


@dataclass
class Part(Lazy):
    name: str
    marks: list[int] = field(default_factory=list)


@dataclass
class Named(Part):
    further: dict[str, Part] = field(default_factory=dict)


def test_a_class_is_written_and_read_as_before() -> None:
    """In both formats, with nested classes, and a subclass of a class that was used before."""
    assert Part.from_dict({"name": "a"}) == Part("a")
    whole = Named("b", [1], {"c": Part("d", [2, 3])})
    assert whole.to_dict() == {"name": "b", "marks": [1], "further": {"c": {"name": "d", "marks": [2, 3]}}}
    assert Named.from_dict(whole.to_dict()) == whole
    assert Named.from_msgpack(whole.to_msgpack()) == whole


def test_nothing_is_compiled_before_a_class_is_used() -> None:
    """Before its first use, the class has our method; afterwards mashumaro's."""

    @dataclass
    class Fresh(Lazy):
        name: str

    assert Fresh.to_dict.__module__ == "refresh_runner.dbt.patches.code_generation"
    Fresh("a").to_dict()
    assert Fresh.to_dict.__module__ != "refresh_runner.dbt.patches.code_generation"
    assert "__mashumaro_to_dict__" in vars(Fresh)


def test_a_class_that_does_not_ask_for_it_is_spared_too() -> None:
    """Classes that describe JSON schemas do not ask for it, and are as large as the rest."""

    @dataclass
    class Plain(DataClassMessagePackMixin):
        name: str

    assert Plain.to_dict.__module__ == "refresh_runner.dbt.patches.code_generation"
    assert Plain.from_dict(Plain("a").to_dict()) == Plain("a")
