"""What a preview found: a structure without rows, which is bounded for a status; pure."""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from refresh_api.model import Model
from refresh_api.redaction import Redactor

_MAX_MARTS: Final = 64
MAX_COLUMNS: Final = 40
"""Columns of a mart that are listed."""
_MAX_NAMES: Final = 100
_MAX_NOTES: Final = 50
_NOTE_LENGTH: Final = 500
_NAME_LENGTH: Final = 255
_MAX_BYTES: Final = 128 * 1024
"""Maximum size of a report in a status, as JSON."""

LEAST_SAMPLE: Final = 1000
"""Least number of rows of a sample."""
MOST_SAMPLE: Final = 1_000_000_000

DIFFERS: Final = 3
"""Exit code of `preview` where readers would see a difference that is not allowed."""


class Difference(StrEnum):
    """A kind of difference that readers would see."""

    ADDED = "Added"
    """Rows that were not there."""
    REMOVED = "Removed"
    """Rows that are not there any more."""
    CHANGED = "Changed"
    """Rows with the same key and other values."""
    COLUMNS = "Columns"
    """Columns that are added or dropped, or have another type."""


def _at_most(count: int) -> Any:  # noqa: ANN401 - as pydantic has it
    """Limit a list for the API server only: a report in a terminal is complete, and one in a status is bounded."""
    return {"maxItems": count}


def _text(length: int = _NAME_LENGTH) -> Any:  # noqa: ANN401
    return {"maxLength": length}


class ColumnFigures(Model):
    """What one column of one table holds."""

    type: str = Field(description="Type of the column.", json_schema_extra=_text())
    nulls: int = Field(ge=0, description="Number of NULLs.")
    distinct: int = Field(ge=0, description="Number of distinct values.")
    least: str | None = Field(default=None, description="Least value of numbers and dates.", json_schema_extra=_text())
    greatest: str | None = Field(default=None, description="Greatest value of numbers and dates.", json_schema_extra=_text())
    total: str | None = Field(default=None, description="Sum of the values of numbers.", json_schema_extra=_text())


class ColumnReport(Model):
    """A column that differs."""

    name: str = Field(description="Name of the column.", json_schema_extra=_text())
    before: ColumnFigures | None = Field(default=None, description="The live column; unset for a column that the change adds.")
    after: ColumnFigures | None = Field(default=None, description="The column after the change; unset for one that the change drops.")
    changed: int | None = Field(
        default=None, ge=0, description="Rows with the same key and another value in this column; unset where rows cannot be matched."
    )

    @property
    def is_other(self) -> bool:
        """Whether the column is added or dropped, or has another type."""
        return self.before is None or self.after is None or self.before.type != self.after.type


class SampleReport(Model):
    """The rows of a large mart that were compared."""

    one_in: int = Field(ge=2, description="One key in as many was compared, chosen by a hash; one row in as many if rows have no key.")
    rows_before: int = Field(ge=0, description="Rows of the live table that were compared.")
    rows_after: int = Field(ge=0, description="Rows after the change that were compared.")


class MartReport(Model):
    """A mart before and after the change."""

    relation: str = Field(description="Table as schema.name.", json_schema_extra=_text())
    key: list[str] = Field(
        default_factory=list,
        json_schema_extra=_at_most(32),
        description="Columns by which rows were matched; empty without a key that is unique on both sides.",
    )
    rows_before: int | None = Field(default=None, ge=0, description="Rows of the live table; unset for one that does not exist yet.")
    rows_after: int = Field(ge=0, description="Rows after the change.")
    added: int = Field(default=0, ge=0, description="Rows that were not there.")
    removed: int = Field(default=0, ge=0, description="Rows that are not there any more.")
    changed: int | None = Field(
        default=None,
        ge=0,
        description="Rows with the same key and other values; unset where rows cannot be matched, and each counts as removed and added.",
    )
    sample: SampleReport | None = Field(
        default=None,
        description="The rows that were compared, to which all figures but rowsBefore and rowsAfter belong; unset if all were compared.",
    )
    columns: list[ColumnReport] = Field(default_factory=list, json_schema_extra=_at_most(MAX_COLUMNS), description="Columns that differ.")
    more_columns: int = Field(default=0, ge=0, description="Number of further columns that differ.")

    @property
    def differences(self) -> frozenset[Difference]:
        """The kinds of differences that readers would see."""
        counts = {Difference.ADDED: self.added, Difference.REMOVED: self.removed, Difference.CHANGED: self.changed}
        found = {kind for kind, count in counts.items() if count}
        if self.rows_before is None:
            found.add(Difference.ADDED)
        elif any(column.is_other for column in self.columns):
            found.add(Difference.COLUMNS)
        if self.sample and self.rows_before not in (None, self.rows_after):
            # the sample may have none of these rows
            found.add(Difference.ADDED if self.rows_after > (self.rows_before or 0) else Difference.REMOVED)
        return frozenset(found)

    @property
    def extent(self) -> str:
        """How much was compared, such as `in a sample of 1 key in 10`; empty if all was."""
        what = "key" if self.key else "row"
        return f"in a sample of 1 {what} in {self.sample.one_in}" if self.sample else ""

    @property
    def summary(self) -> str:
        """The differences in one line."""
        if self.rows_before is None:
            return f"new, {self.rows_after} rows"
        extent = f" {self.extent}" if self.extent else ""
        if not self.differences:
            return f"no difference{extent}, {self.rows_after} rows"
        rows = f"{self.rows_before} → {self.rows_after} rows" + (f";{extent}" if extent else "")
        if self.changed is None:
            return f"{rows}: {self.added} rows that were not there, {self.removed} that are not there any more (rows have no unique key)"
        return f"{rows}: {self.added} added, {self.removed} removed, {self.changed} changed (by {', '.join(self.key)})"


class ModelReport(Model):
    """A model that was built."""

    name: str = Field(description="Name of the model.", json_schema_extra=_text())
    milliseconds: int = Field(ge=0, description="How long it took.")


class ProblemReport(Model):
    """A test that failed or warned on what was built."""

    name: str = Field(description="Name of the test.", json_schema_extra=_text())
    failed: bool = Field(description="Whether it failed; false for a warning.")
    message: str = Field(default="", description="What it found.", json_schema_extra=_text(_NOTE_LENGTH))


class PreviewReport(Model):
    """What a change would do."""

    marts: list[MartReport] = Field(
        default_factory=list,
        json_schema_extra=_at_most(_MAX_MARTS),
        description="The marts that the change touches, or all tables and views if the refresh validates no marts.",
    )
    models: list[ModelReport] = Field(
        default_factory=list, json_schema_extra=_at_most(_MAX_NAMES), description="The models that the change touches, as they were built."
    )
    tests: int = Field(default=0, ge=0, description="Number of tests of these models, which ran on what was built.")
    problems: list[ProblemReport] = Field(
        default_factory=list, json_schema_extra=_at_most(_MAX_NOTES), description="The tests that failed or warned."
    )
    removed: list[str] = Field(
        default_factory=list,
        json_schema_extra=_at_most(_MAX_NAMES),
        description="Models that the change removes; their tables stay as they are.",
    )
    left_out: list[str] = Field(
        default_factory=list,
        json_schema_extra=_at_most(_MAX_NOTES),
        description="What the preview cannot show, such as hooks, which do not run.",
    )
    truncated: bool = Field(default=False, description="Whether something is left out, since a status has limited room.")

    @property
    def differences(self) -> list[Difference]:
        """The kinds of differences that readers would see."""
        found = {kind for mart in self.marts for kind in mart.differences}
        return [kind for kind in Difference if kind in found]

    @property
    def summary(self) -> str:
        """What differs, in one line: the marts with their counts."""
        if not self.models:
            return "the change touches no model of this refresh"
        parts = [f"{mart.relation}: {_short_counts(mart)}" for mart in self.marts if mart.differences]
        sampled = sum(mart.sample is not None for mart in self.marts)
        return "; ".join(parts) or ("no mart differs" + (f" ({sampled} of {len(self.marts)} compared by a sample)" if sampled else ""))

    def in_a_status(self, redact: Redactor) -> "PreviewReport":
        """Return the report in the limits of a status: without what exceeds them, which `truncated` says.

        Each text is redacted before it is clipped: half a secret is no longer recognised.
        """
        bounded = self.model_copy(
            update={
                "marts": [_bounded_mart(mart, redact) for mart in self.marts[:_MAX_MARTS]],
                "models": [each.model_copy(update={"name": redact.clipped(each.name, _NAME_LENGTH)}) for each in self.models[:_MAX_NAMES]],
                "problems": [_bounded_test(test, redact) for test in self.problems[:_MAX_NOTES]],
                "removed": [redact.clipped(name, _NAME_LENGTH) for name in self.removed[:_MAX_NAMES]],
                "left_out": [redact.clipped(note, _NOTE_LENGTH) for note in self.left_out[:_MAX_NOTES]],
            }
        )
        while len(bounded.model_dump_json(by_alias=True)) > _MAX_BYTES:
            longest = max(bounded.marts, key=lambda mart: len(mart.columns))
            if not longest.columns:
                break
            less = _with_columns(longest, len(longest.columns) // 2)
            bounded = bounded.model_copy(update={"marts": [less if mart is longest else mart for mart in bounded.marts]})
        return bounded.model_copy(update={"truncated": self.truncated or bounded != self})


def _bounded_mart(mart: MartReport, redact: Redactor) -> MartReport:
    kept = _with_columns(mart, MAX_COLUMNS)
    columns = [
        each.model_copy(
            update={
                side: figures and _without_long_values(figures, redact)
                for side, figures in (("before", each.before), ("after", each.after))
            }
        )
        for each in kept.columns
    ]
    return kept.model_copy(update={"columns": columns})


def _without_long_values(figures: ColumnFigures, redact: Redactor) -> ColumnFigures:
    values = {name: value and redact.clipped(value, _NAME_LENGTH) for name, value in figures if isinstance(value, str)}
    return figures.model_copy(update=values)


def _bounded_test(test: ProblemReport, redact: Redactor) -> ProblemReport:
    return test.model_copy(update={"name": redact.clipped(test.name, _NAME_LENGTH), "message": redact.clipped(test.message, _NOTE_LENGTH)})


def _with_columns(mart: MartReport, count: int) -> MartReport:
    """Return the mart with its first columns only; those that are added, dropped or of another type come first."""
    if len(mart.columns) <= count:
        return mart
    columns = sorted(mart.columns, key=lambda column: not column.is_other)[:count]
    return mart.model_copy(update={"columns": columns, "more_columns": mart.more_columns + len(mart.columns) - count})


def _short_counts(mart: MartReport) -> str:
    if mart.rows_before is None:
        return f"new, {mart.rows_after} rows"
    counts = {"added": mart.added, "removed": mart.removed, "changed": mart.changed or 0}
    found = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if mart.sample and found:
        return f"{found} {mart.extent}"
    if mart.sample and mart.rows_before != mart.rows_after:
        return f"{mart.rows_before} → {mart.rows_after} rows"
    return found or "other columns"
