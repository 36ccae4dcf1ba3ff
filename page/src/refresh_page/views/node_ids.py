"""What dbt's IDs of nodes say."""


def kind_of(id_: str) -> str:
    """Return the resource type in an ID such as `model.project.name`."""
    return id_.partition(".")[0]


def is_test(id_: str) -> bool:
    """Return whether an ID is that of a data test or a unit test."""
    return kind_of(id_) in ("test", "unit_test")


def name_of(id_: str) -> str:
    """Return the name in an ID such as `model.project.name`, `source.project.source.name` or `model.project.name.v2`."""
    return id_.split(".", 2)[-1]
