"""What dbt's IDs of nodes say."""


def kind_of(id_: str) -> str:
    """Return the resource type in an ID such as `model.project.name`."""
    return id_.partition(".")[0]


def name_of(id_: str) -> str:
    """Return the name in an ID such as `model.project.name`, `source.project.source.name` or `model.project.name.v2`."""
    return id_.split(".", 2)[-1]
