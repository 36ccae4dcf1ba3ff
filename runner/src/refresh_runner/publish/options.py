"""The options of a publish, and its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from refresh_api.spec import Vacuum
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.own_relations import NO_ORIGIN, RelationOrigin


class PublishStrategy(StrEnum):
    """How a mart is made live. The values are stored in dbt_refresh_version and must not change."""

    MERGE = "Rows"
    """Write the rows that differ to the live table. Needs no lock that blocks readers."""
    SWAP = "Move"
    """Replace the live table by the new one. Needs an ACCESS EXCLUSIVE lock."""
    CREATE = "New"
    """Move the new table to the live schema, if there is no live table."""


class NotPublishableError(Exception):
    """A mart cannot be published without losing something. The message says which, why and what to do. Nothing was changed."""


@dataclass(frozen=True)
class Mart:
    """A mart to publish."""

    relation: Relation
    """The name under which dashboards read it."""
    grants_declared: bool = False
    """Whether the dbt project declares its grants. If not, manual grants are kept."""
    comments_declared: bool = False
    """Whether the dbt project's descriptions are its comments. If not, manual comments are kept."""


@dataclass(frozen=True)
class PublishResult:
    """How one mart was made live."""

    strategy: PublishStrategy
    rows: int
    """Number of rows in the mart."""
    rows_written: int
    """Number of rows deleted, updated or inserted."""


PublishResults = Mapping[Relation, PublishResult]


@dataclass(frozen=True)
class PublishOptions:
    """How to publish."""

    timeout: timedelta
    """Maximum duration, including the wait for locks."""
    mask_cancellation: Callable[[], object]
    """Called right before the commit. From then on the run must not be cancelled until its caller has reported what is live."""
    vacuum: Vacuum = Vacuum.AUTO
    republish: frozenset[Relation] = frozenset()
    """Marts that an earlier attempt of this run has published. They are replaced, and their previous relation is left unchanged."""
    origin: RelationOrigin = NO_ORIGIN
    """The run that publishes."""


COMPARISON_SETTINGS: Final = {
    # Different values of a type must have different texts.
    "extra_float_digits": "1",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    # Return all rows or fail: a row security policy must not hide any.
    "row_security": "off",
}
"""Session settings on which the comparison of rows as text relies."""
