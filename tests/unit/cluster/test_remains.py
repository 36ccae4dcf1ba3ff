"""What `make clean` says about what it leaves."""

from cluster.remains import lines


def test_each_thing_that_stays_is_named_with_the_command_that_removes_it() -> None:
    """`nothing left` was printed although images, a network and a whole demo were left."""
    found = lines(existing=True, images=["refresh-runner:dev", "refresh-runner:0123"], network=True)
    assert [line.partition("; ")[2] for line in found] == [
        "make clean CLUSTER=existing removes the demo",
        "docker image rm refresh-runner:dev refresh-runner:0123",
        "docker network rm kind",
    ]


def test_nothing_is_said_where_nothing_stays() -> None:
    """`make clean` then says that nothing is left."""
    assert lines(existing=False, images=[], network=False) == []
