"""dbt's events as the runner reads them."""

from __future__ import annotations

from dbt.artifacts.schemas.results import NodeStatus
from dbt.events.types import NodeFinished
from dbt_common.events.base_types import EventLevel, EventMsg, msg_from_base_event

from refresh_runner.dbt.output import Lines


def finished(model: str, status: NodeStatus = NodeStatus.Success) -> EventMsg:
    """Return dbt's event at the end of a node; of a microbatch model dbt fires it for each batch."""
    return msg_from_base_event(NodeFinished(node_info={"unique_id": model, "node_status": status}), level=EventLevel.DEBUG)


def completed(*events: EventMsg, in_batches: tuple[str, ...] = ()) -> list[str]:
    """Return the nodes that are recorded as completed after these events."""
    recorded: list[str] = []
    with Lines(lambda _level, _line: None, "info", recorded.append, in_batches) as lines:
        for event in events:
            lines.take(event)
        assert lines.completed == set(recorded)
    return recorded


def test_a_model_that_has_ended_is_completed():
    """A resumed run does not build it again. A failed one must be built again."""
    assert completed(finished("model.a"), finished("model.b", NodeStatus.Error)) == ["model.a"]


def test_a_microbatch_model_is_not_completed_by_its_batches():
    """Resuming after its first batch would leave the others out."""
    assert completed(finished("model.a"), finished("model.b"), in_batches=("model.a",)) == ["model.b"]
