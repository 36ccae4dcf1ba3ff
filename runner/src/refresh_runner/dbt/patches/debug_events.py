"""Makes dbt build no messages of level debug, of which it builds a dozen per node. Only those that end a node are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.patches.patch import Patch, Symbol

if TYPE_CHECKING:
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

PATCH: Final = Patch(
    name="debug_events",
    purpose="Unused messages are not built.",
    symbols=(
        Symbol("dbt_common.events.event_manager", "EventManager.fire_event", "self, e, level, node, force_warn_or_error_handling"),
        Symbol("dbt_common.events.base_types", "BaseEvent.__init__", "self, args, kwargs"),
        Symbol("dbt_common.events.base_types", "BaseEvent.__getattr__", "self, key"),
    ),
    saves_ms=0,
)

READ_EVENTS: Final = frozenset({"NodeFinished"})
"""Events of level debug that the runner reads."""


@PATCH.once
def skip_debug_events() -> None:
    """Apply the patch for the lifetime of the process."""
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    fire, make = EventManager.fire_event, BaseEvent.__init__

    def make_later(event: BaseEvent, *args: object, **named: object) -> None:
        vars(event)["made_of"] = (args, named)

    def made(event: BaseEvent, name: str) -> object:
        # Called for attributes that do not yet exist.
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
