"""Settings, plots, conditions, the cache of the run log, log lines and decompression."""

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


def test_settings_come_from_the_variables_that_the_chart_sets():
    """Outside a cluster, the address of a `kubectl proxy` is enough."""
    pod = settings_from(IN_CLUSTER)
    assert (pod.api_server, pod.namespaces, pod.warehouse, pod.host) == ("https://10.0.0.1:443", ("a", "b"), None, "127.0.0.1")
    assert settings_from({"API_SERVER": "http://127.0.0.1:8001/", "WATCH_CLUSTER_WIDE": "true"}).api_server == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({"WATCH_NAMESPACES": ""}, "WATCH_NAMESPACES"),
        ({"WATCH_CLUSTER_WIDE": "true"}, "either"),
        ({"PORT": "0"}, "PORT"),
        ({"BASE_PATH": "ops"}, "BASE_PATH"),
        ({"KUBERNETES_SERVICE_HOST": ""}, "kubectl proxy"),
    ],
)
def test_an_invalid_setting_is_named(wrong, variable):
    """A page that starts with a wrong setting would look like an empty cluster."""
    with pytest.raises(SettingsError, match=variable):
        settings_from({**IN_CLUSTER, **wrong})


def test_bars_fit_the_plot_and_share_its_scale_with_the_reference_line():
    """The last run is at the right edge, and a run without a value leaves a gap."""
    plot = bar_plot([Point(2.0, "good", "a"), Point(None, "none", "b"), Point(4.0, "bad", "c")], reference=3.0)
    assert [bar.point.label for bar in plot.bars] == ["a", "c"]
    assert plot.bars[1].x + plot.bars[1].width <= WIDTH
    assert plot.bars[1].height == pytest.approx(2 * plot.bars[0].height, abs=0.2)
    assert plot.reference == pytest.approx(HEIGHT - 0.75 * (HEIGHT - 4), abs=0.1)
    assert bar_plot([]).bars == ()


def test_a_line_has_a_gap_where_there_is_no_value():
    """Values that are all the same have no span to divide by."""
    plot = line_plot([Point(1.0, "good", ""), Point(None, "none", ""), Point(1.0, "good", "")])
    assert plot.path.count("M") == 2
    assert len({dot.y for dot in plot.dots}) == 1


def test_a_condition_is_a_sentence_about_what_is_true():
    """Stalled=False is the normal state, so it is left out; Ready=True is good news even while suspended."""
    given = [("Ready", "True", "Suspended"), ("Stalled", "False", "NotStalled"), ("LastRunSucceeded", "False", "OOMKilled")]
    found = condition_views([Condition.model_validate(build_condition(*each, NOW)) for each in given])
    assert [(each.sentence, each.tone.value) for each in found] == [
        ("Set up; scheduled runs are suspended", "good"),
        ("The last run failed", "bad"),
    ]


async def test_many_readers_share_one_query():
    """A reader who disconnects must not cancel the query of the others. An error is not cached for other keys."""
    queries = 0

    async def query() -> int:
        nonlocal queries
        queries += 1
        await asyncio.sleep(0)
        if queries == 2:
            raise LookupError("away")
        return queries

    cache: SingleFlightCache[int] = SingleFlightCache(seconds=60, max_entries=10)
    first, others = asyncio.ensure_future(cache.get("a", query)), [cache.get("a", query) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [1, 1, 1]
    with pytest.raises(LookupError):
        await cache.get("b", query)
    assert await cache.get("c", query) == 3


def test_a_log_line_that_is_not_json_is_shown_unchanged():
    """Libraries and the container runtime also write to a pod's log."""
    line = '{"time": "2026-03-03T11:47:02.120+00:00", "level": "error", "step": "staging", "logger": "x", "message": "a\\u202eb"}'
    assert last_lines(f'first\n{line}\n{{"a": 1}}\n', count=2) == ("11:47:02 ERROR [staging] a\u202eb", '{"a": 1}')


def test_decompression_is_limited():
    """A small gzip file that expands to gigabytes would exhaust the page's memory."""
    assert decompress(gzip.compress(b"line\n")) == b"line\n"
    assert len(decompress(gzip.compress(bytes(MAX_ARTIFACT_SIZE + 10**6)))) == MAX_ARTIFACT_SIZE
