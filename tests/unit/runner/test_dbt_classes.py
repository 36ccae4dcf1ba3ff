"""Classes that compile nothing before they are used."""

from __future__ import annotations

from dataclasses import dataclass, field

from mashumaro.config import BaseConfig
from mashumaro.mixins.msgpack import DataClassMessagePackMixin

from refresh_runner.dbt.patches.code_generation import delay_code_generation

delay_code_generation()


class Lazy(DataClassMessagePackMixin):
    """As dbt's own base of all its classes."""

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
    """Both formats, with classes inside, and a class derived from one that was used already."""
    assert Part.from_dict({"name": "a"}) == Part("a")
    whole = Named("b", [1], {"c": Part("d", [2, 3])})
    assert whole.to_dict() == {"name": "b", "marks": [1], "further": {"c": {"name": "d", "marks": [2, 3]}}}
    assert Named.from_dict(whole.to_dict()) == whole
    assert Named.from_msgpack(whole.to_msgpack()) == whole


def test_nothing_is_compiled_before_a_class_is_used() -> None:
    """What the class has at first is ours; after its first use it is mashumaro's."""

    @dataclass
    class Fresh(Lazy):
        name: str

    assert Fresh.to_dict.__module__ == "refresh_runner.dbt.patches.code_generation"
    Fresh("a").to_dict()
    assert Fresh.to_dict.__module__ != "refresh_runner.dbt.patches.code_generation"
    assert "__mashumaro_to_dict__" in vars(Fresh)


def test_a_class_that_does_not_ask_for_it_is_spared_too() -> None:
    """What describes JSON schemas does not, and is as big as the rest."""

    @dataclass
    class Plain(DataClassMessagePackMixin):
        name: str

    assert Plain.to_dict.__module__ == "refresh_runner.dbt.patches.code_generation"
    assert Plain.from_dict(Plain("a").to_dict()) == Plain("a")
