"""What a publish is asked to do, and what it returns."""

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
    """How a mart is made live. The values are stored in dbt_refresh_version and stay as they are."""

    MERGE = "Rows"
    """Write the rows that differ into the live table: no lock that blocks readers."""
    SWAP = "Move"
    """Put the new table in place of the live one: needs an ACCESS EXCLUSIVE lock."""
    CREATE = "New"
    """Move the new table into the live schema, where there was none."""


class NotPublishableError(Exception):
    """A mart cannot be published without losing something. The message says which, why and what to do; nothing was changed."""


@dataclass(frozen=True)
class Mart:
    """A mart to publish."""

    relation: Relation
    """The name under which dashboards read it."""
    grants_declared: bool = False
    """The dbt project declares who may read it. If not, manual grants are kept."""
    comments_declared: bool = False
    """The dbt project's descriptions are its comments. If not, manual comments are kept."""


@dataclass(frozen=True)
class PublishResult:
    """How one mart was made live."""

    strategy: PublishStrategy
    rows: int
    """Rows in the mart."""
    rows_written: int
    """Rows deleted, updated or inserted."""


PublishResults = Mapping[Relation, PublishResult]


@dataclass(frozen=True)
class PublishOptions:
    """How to publish."""

    timeout: timedelta
    """Maximum duration, including the wait for locks."""
    mask_cancellation: Callable[[], object]
    """Called right before the commit: from then on the run must not be cancelled until its caller has reported what is live."""
    vacuum: Vacuum = Vacuum.AUTO
    republish: frozenset[Relation] = frozenset()
    """Marts that an earlier attempt of this run has published: these are replaced, and the previous relation is kept as it is."""
    origin: RelationOrigin = NO_ORIGIN
    """The run that publishes."""


COMPARISON_SETTINGS: Final = {
    # No two values of a type may have the same text.
    "extra_float_digits": "1",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    # Return all rows or fail: a row security policy must not hide some of them.
    "row_security": "off",
}
"""Session settings that comparing rows as text relies on."""
