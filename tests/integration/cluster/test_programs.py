"""The built programs include the data that they need."""

import os

from cluster.embedded.binaries import KUBE, NODE, build
from cluster.paths import paths_of

_ZONE = b"Indian/Antananarivo"


def test_kubernetes_knows_time_zones_without_the_machine_s() -> None:
    """A container has no zone files, and the API server would reject every `timeZone`. Control: a program without them."""
    cache = paths_of(os.environ).cache
    assert _ZONE in build(KUBE, cache).read_bytes()
    assert _ZONE not in build(NODE, cache).read_bytes()
