"""The page's small parts: settings, plots, conditions, answers that are kept, files that are unpacked."""

import asyncio
import gzip

import pytest

from refresh_api.status import Condition
from refresh_page.runlog.cache import SingleFlightCache
from refresh_page.runlog.repository import MAX_ARTIFACT_SIZE, decompress
from refresh_page.settings import SettingsError, settings_from
from refresh_page.views.conditions import condition_views
from refresh_page.views.log_lines import last_lines
from refresh_page.web.svg import HEIGHT, WIDTH, Point, bar_plot, line_plot
from support.page_refreshes import build_condition
from support.snapshots import NOW

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "WATCH_NAMESPACES": "a,b"}


def test_in_a_pod_the_settings_are_those_of_its_chart():
    """Outside of one, the address of a `kubectl proxy` is enough."""
    pod = settings_from(IN_CLUSTER)
    assert (pod.api_server, pod.namespaces, pod.warehouse, pod.host) == ("https://10.0.0.1:443", ("a", "b"), None, "127.0.0.1")
    assert settings_from({"API_SERVER": "http://127.0.0.1:8001/", "WATCH_CLUSTER_WIDE": "true"}).api_server == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("wrong", "said_so"),
    [
        ({"WATCH_NAMESPACES": ""}, "WATCH_NAMESPACES"),
        ({"WATCH_CLUSTER_WIDE": "true"}, "either"),
        ({"PORT": "0"}, "PORT"),
        ({"BASE_PATH": "ops"}, "BASE_PATH"),
        ({"KUBERNETES_SERVICE_HOST": ""}, "kubectl proxy"),
    ],
)
def test_a_wrong_setting_is_named(wrong, said_so):
    """Before anything is served."""
    with pytest.raises(SettingsError, match=said_so):
        settings_from({**IN_CLUSTER, **wrong})


def test_bars_stand_within_the_plot_and_what_is_usual_is_a_line():
    """The newest at the right end; a gap where there is no value."""
    plot = bar_plot([Point(2.0, "good", "a"), Point(None, "none", "b"), Point(4.0, "bad", "c")], reference=3.0)
    assert [bar.point.label for bar in plot.bars] == ["a", "c"]
    assert plot.bars[1].x + plot.bars[1].width <= WIDTH
    assert plot.bars[1].height == pytest.approx(2 * plot.bars[0].height, abs=0.2)
    assert plot.reference == pytest.approx(HEIGHT - 0.75 * (HEIGHT - 4), abs=0.1)
    assert bar_plot([]).bars == ()


def test_a_line_has_a_gap_where_there_is_no_value():
    """And does not fall over when all values are the same."""
    plot = line_plot([Point(1.0, "good", ""), Point(None, "none", ""), Point(1.0, "good", "")])
    assert plot.path.count("M") == 2
    assert len({dot.y for dot in plot.dots}) == 1


def test_conditions_that_say_something_are_said_in_plain_words():
    """One that only fails to hold is left out."""
    given = [("Ready", "True", "Suspended"), ("Stalled", "False", "NotStalled"), ("LastRunSucceeded", "False", "OOMKilled")]
    found = condition_views([Condition.model_validate(build_condition(*each, NOW)) for each in given])
    assert [(each.sentence, each.tone.value) for each in found] == [
        ("Set up; scheduled runs are suspended", "good"),
        ("The last run failed", "bad"),
    ]


async def test_many_readers_ask_once():
    """A reader who leaves takes nothing from the others; an error is everybody's, and passes."""
    asked = 0

    async def answer() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked == 2:
            raise LookupError("away")
        return asked

    kept: SingleFlightCache[int] = SingleFlightCache(seconds=60, max_entries=10)
    first, others = asyncio.ensure_future(kept.get("a", answer)), [kept.get("a", answer) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [1, 1, 1]
    with pytest.raises(LookupError):
        await kept.get("b", answer)
    assert await kept.get("c", answer) == 3


def test_a_log_is_read_line_by_line():
    """What is no JSON stands as it is."""
    line = '{"time": "2026-03-03T11:47:02.120+00:00", "level": "error", "step": "staging", "logger": "x", "message": "a\\u202eb"}'
    assert last_lines(f'first\n{line}\n{{"a": 1}}\n', count=2) == ("11:47:02 ERROR [staging] a\u202eb", '{"a": 1}')


def test_a_small_file_cannot_unpack_to_a_great_one():
    """What is beyond the bound is left out."""
    assert decompress(gzip.compress(b"line\n")) == b"line\n"
    assert len(decompress(gzip.compress(bytes(MAX_ARTIFACT_SIZE + 10**6)))) == MAX_ARTIFACT_SIZE
