"""What dbt does slowly, done quickly: selecting nodes without a command of its own, and commands that do not walk their stack.

Each command of dbt costs a quarter of a second of processor time before it begins, so a run has only those that touch the warehouse.
"""

from __future__ import annotations

import gc
import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from types import CodeType
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import changed
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import Selection

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import FunctionNode, ManifestNode, UnitTestDefinition

    AnyNode = ManifestNode | FunctionNode | UnitTestDefinition

READ_EVENTS: Final = frozenset({"NodeFinished"})
"""The events of the level debug that are read here."""
_COLLECT_AFTER: Final = 50_000
"""New objects, instead of Python's 700."""
_compiled: Final[dict[tuple[object, ...], CodeType]] = {}
"""What Jinja has compiled, by the kind of environment, the text, and whatever else it was given."""


def selected(manifest: Manifest, selection: Selection, kinds: Sequence[str]) -> tuple[Node, ...]:
    """Return the nodes of some kinds (model, seed, snapshot, function, test, unit_test) as `dbt list` would, in order of their names.

    Without ephemeral models, which live in those that read them and are never built. Takes the flags of the command before, so parse
    first. Raises dbt's own exception for a selector that takes nothing.
    """
    from dbt.artifacts.resources.types import NodeType
    from dbt.compilation import Linker
    from dbt.graph.cli import parse_difference
    from dbt.graph.graph import Graph
    from dbt.graph.selector import ResourceTypeSelector

    linker = Linker()
    linker.link_graph(manifest)
    selector = ResourceTypeSelector(Graph(linker.graph), manifest, None, [NodeType(kind) for kind in kinds], include_empty_nodes=True)
    ids = selector.get_selected(parse_difference(list(selection.select), list(selection.exclude) or None))
    found = [node_of(manifest, id_) for id_ in sorted(ids)]
    return tuple(Node(node.unique_id, node.name) for node in found if not is_ephemeral(node))


@contextmanager
def exactly(ids: Iterable[str]) -> Iterator[None]:
    """Have dbt's commands take these nodes while inside, which are known already: to find a hundred by name takes a tenth of a second."""
    from dbt.graph.selector import NodeSelector

    found = frozenset(ids)

    def get_selected(*_asked: object, **_named: object) -> set[str]:
        return set(found)

    with changed(NodeSelector, get_selected=get_selected):
        yield


@contextmanager
def references_kept(nodes: Iterable[ManifestNode]) -> Iterator[None]:
    """Foreign keys of the contracts are as the project has them afterwards: dbt writes over them what it makes of them, once."""
    from dbt.contracts.graph.nodes import ModelNode

    constraints = [constraint for node in nodes if isinstance(node, ModelNode) for constraint in node.all_constraints]
    kept = [(constraint, constraint.to) for constraint in constraints]
    try:
        yield
    finally:
        for constraint, to in kept:
            constraint.to = to


def node_of(manifest: Manifest, id_: str) -> AnyNode:
    """Return what dbt builds or tests by this id; KeyError if there is nothing."""
    if id_ in manifest.functions:
        return manifest.functions[id_]
    return manifest.unit_tests[id_] if id_ in manifest.unit_tests else manifest.nodes[id_]


def is_ephemeral(node: AnyNode) -> bool:
    """Return whether a node is a model that becomes a part of those that read it."""
    return bool(node.is_ephemeral_model)


def parents(manifest: Manifest, node: AnyNode) -> set[str]:
    """Return the ids of what a node reads in the warehouse, directly or through ephemeral models."""
    found: set[str] = set()
    for id_ in node.depends_on_nodes:
        parent = manifest.nodes.get(id_)
        found |= parents(manifest, parent) if parent is not None and is_ephemeral(parent) else {id_}
    return found


def spare_stack_walks() -> None:
    """Have dbt label its behaviour flags without looking at every frame of the stack, which it does 34 times a command.

    The label is the module that defines a flag, for a notice that we do not print; the walks were half of a command's own time.
    """
    from dbt_common.behavior_flags import BehaviorFlagRendered

    for name in ("_default_source",):
        setattr(BehaviorFlagRendered, name, staticmethod(lambda: "dbt"))


@cache  # a second time it would put itself in the place of what it stands before
def spare_debug_events() -> None:
    """Have dbt put together no message of the level debug, a dozen a node, that nobody reads; but for what we learn from."""
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    fire, make = EventManager.fire_event, BaseEvent.__init__

    def make_later(event: BaseEvent, *args: object, **named: object) -> None:
        vars(event)["made_of"] = (args, named)

    def made(event: BaseEvent, name: str) -> object:
        # Only asked for what is not there.
        if name != "pb_msg":
            return getattr(event.pb_msg, name)
        args, named = vars(event).pop("made_of")
        make(event, *args, **named)
        return vars(event)[name]

    def fire_event(
        events: EventManager, e: BaseEvent, level: EventLevel | None = None, node: object = None, force_warn_or_error_handling: bool = False
    ) -> None:
        is_debug = (level or e.level_tag()) is EventLevel.DEBUG
        if not is_debug or force_warn_or_error_handling or type(e).__name__ in READ_EVENTS:
            fire(events, e, level, node, force_warn_or_error_handling)

    EventManager.fire_event = fire_event  # type: ignore[method-assign, assignment]
    BaseEvent.__init__ = make_later  # type: ignore[assignment]
    BaseEvent.__getattr__ = made  # type: ignore[method-assign]


def spare_searches() -> None:
    """Have dbt look for plug-ins among all that is installed once, not with each command."""
    from dbt.plugins.manager import PluginManager

    PluginManager.get_prefixed_modules = cache(PluginManager.get_prefixed_modules)  # type: ignore[method-assign]


@cache
def spare_compilations() -> None:
    """Have Jinja compile equal texts once: a test of a kind reads as all others of it, and a macro as in the command before."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    # The one for values is derived from it.
    MacroFuzzEnvironment.compile = _once(MacroFuzzEnvironment.compile)  # type: ignore[method-assign, assignment]


def _once(compile_: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """Return a method of an environment that keeps what it compiles: code does not change, and speaks of the environment's kind alone."""

    def compile_once(environment: object, source: object, *further: object, **named: object) -> CodeType:
        key = (type(environment), source, *further, *sorted(named.items()))
        if key not in _compiled:
            _compiled[key] = compile_(environment, source, *further, **named)
        return _compiled[key]

    return compile_once


def compiled(manifest: Manifest) -> bytes:
    """Return the code of all macros, for `know`; it holds for this version of Python and of Jinja."""
    from dbt_common.clients.jinja import get_environment
    from jinja2 import TemplateError

    found: dict[str, CodeType] = {}
    for text in sorted({macro.macro_sql for macro in manifest.macros.values()}):
        # A macro that is wrong is dbt's to report, and only where it is called.
        with suppress(TemplateError):
            found[text] = get_environment().compile(text)
    return marshal.dumps(found)


def know(code: bytes) -> None:
    """Have macros that were compiled ahead not compiled again."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    # It lies in the project, whose macros run with the same rights.
    _compiled.update({(MacroFuzzEnvironment, text): each for text, each in marshal.loads(code).items()})  # noqa: S302


@contextmanager
def spared_collections() -> Iterator[None]:
    """Collect no garbage while inside, leave alone for good what is there at the end, and look less often at what comes.

    The collector went through dbt and the project again and again, a second of processor time a run. What a node leaves is gone with
    it, by reference counts.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        gc.enable()
