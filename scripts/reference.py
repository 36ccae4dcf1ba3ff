"""Write the guide's reference from the code: contract, metrics, alerts, permissions, command lines. `make docs` calls it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from command_lines import commands
from marked import page, plain, table
from refresh_api.crd import Schema, structural
from refresh_api.preview import PreviewReason, PreviewSpec, PreviewState, PreviewStatus
from refresh_api.preview_report import Difference
from refresh_api.reasons import EventReason, FreshReason, ReadyReason, RunningReason, SuspendedReason
from refresh_api.run_request import ExitCode, ModeKind
from refresh_api.spec import RefreshSpec
from refresh_api.status import MissedReason, Phase, Reason, RefreshStatus, Trigger
from refresh_operator.observability.metrics import render
from refresh_operator.previews.model import parse_preview
from refresh_operator.previews.objects import permissions as preview_permissions
from refresh_operator.specs.rbac import rbac
from refresh_operator.state.refresh import parse_refresh

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("docs/reference")
CHART = ROOT / "deploy/helm"


def pages() -> dict[Path, str]:
    """Return the content of each page, by its path from the root."""
    contents = {
        "spec": page("The spec", "Every field of the spec, as `kubectl explain` prints it.", fields("spec", structural(RefreshSpec))),
        "status": page("The status", "Every field of the status.", fields("status", structural(RefreshStatus))),
        "previews": page(
            "Previews",
            "Every field of a RefreshPreview.",
            fields("spec", structural(PreviewSpec)) + "\n" + fields("status", structural(PreviewStatus)),
        ),
        "words": words(),
        "metrics": page("Metrics", "What the operator serves at `/metrics`: about each refresh, and about its own work.", figures()),
        "alerts": page("Alerts", "What `monitoring.alerts` installs; each has a [runbook](../monitoring.md#runbooks).", alerts()),
        "permissions": page(
            "Permissions",
            "All permissions of this product's ServiceAccounts, with reasons. [Security](../security.md) has a summary.",
            permissions(),
        ),
        "commands": commands(),
        "parity": page(
            "The old flow, fact by fact",
            "Each fact of the Prefect flow, its replacement, and the test that shows it.",
            facts(),
        ),
        "faults": page(
            "Faults",
            "Faults that tests inject, and what must be true afterwards. `make test-faults` runs them, `make test` the fast ones.",
            faults(),
        ),
    }
    return {FOLDER / f"{name}.md": text for name, text in contents.items()}


def write() -> None:
    """Write all pages that are missing or stale."""
    for path, text in pages().items():
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != text:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text)


# fields


def fields(path: str, schema: Schema) -> str:
    """Return a section for each object of a schema: its fields with type, default and description."""
    return "\n".join(
        f"## {where}\n\n{_rules(level)}{table(('field', 'type', 'default', 'says'), _rows(level))}"
        for where, level in _levels(path, schema)
    )


def _levels(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every object that has fields, outer ones first."""
    yield path, schema
    for name, field in _properties(schema).items():
        inner = field.get("items") if field.get("type") == "array" else field
        if isinstance(inner, dict) and _properties(inner):
            yield from _levels(f"{path}.{name}" + ("[]" if inner is not field else ""), inner)


def _properties(schema: Schema) -> dict[str, Schema]:
    found = schema.get("properties")
    return {name: field for name, field in found.items() if isinstance(field, dict)} if isinstance(found, dict) else {}


def _rows(schema: Schema) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, field in _properties(schema).items():
        default = "required" if name in needed else _default(field)
        yield f"`{name}`", _kind(field), default, plain(" ".join([str(field.get("description", "")), *_messages(field)]))


def _kind(field: Schema) -> str:
    """Return the type of a field with its bounds."""
    if isinstance(options := field.get("enum"), list):
        return ", ".join(f"`{option}`" for option in options)
    if field.get("type") == "array":
        items = field.get("items")
        return f"list of {_kind(items) if isinstance(items, dict) else 'anything'}"
    if "x-kubernetes-int-or-string" in field:
        return "quantity"
    low, high = field.get("minimum"), field.get("maximum")
    bounds = f" {low} to {high}" if low is not None and high is not None else f" from {low}" if low is not None else ""
    return f"{'time' if field.get('format') == 'date-time' else field.get('type', 'object')}{bounds}"


def _default(field: Schema) -> str:
    value = field.get("default")
    return (
        ""
        if value is None
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
        if not isinstance(value, dict)
        else "see its fields"
    )


def _messages(field: Schema) -> list[str]:
    rules = field.get("x-kubernetes-validations")
    return (
        list(dict.fromkeys(f"Rejected otherwise: {rule['message']}." for rule in rules if isinstance(rule, dict)))
        if isinstance(rules, list)
        else []
    )


def _rules(schema: Schema) -> str:
    return "".join(f"{plain(message)}\n\n" for message in _messages(schema))


# words


def words() -> str:
    """Return a page with the meaning of each word in status, events and history."""
    parts = [
        page("Words", "Words in the status and in events, and what they mean.", ""),
        _meanings("Phases", "`status.phase`, column `PHASE`.", Phase),
        _meanings("Reasons of a run", "`status.lastRun.reason`, and the reasons of the condition `LastRunSucceeded`.", Reason),
        _meanings("Reasons of Ready", "Of the condition `Ready`, and of `Stalled` and `Reconciling` if these are true.", ReadyReason),
        _meanings("Reasons of Suspended", "Of the condition `Suspended`: why scheduled runs do not start.", SuspendedReason),
        _meanings("Reasons of Running", "Of the condition `Running`.", RunningReason),
        _meanings("Reasons of DataFresh", "Of the condition `DataFresh`, which exists if `spec.freshness` is set.", FreshReason),
        _meanings("Events", "In `kubectl describe` and `kubectl events`; each change of `Ready` is also an event.", EventReason),
        _meanings("Triggers of a run", "`trigger`, in `active` and `history`.", Trigger),
        _meanings("Missed runs", "`status.lastMissedReason`.", MissedReason),
        _meanings("Modes of a run", "The annotation `dashboards.sigeti.io/runMode`, or the option `--mode`.", ModeKind),
        _meanings("States of a preview", "`status.state` of a RefreshPreview, column `STATE`.", PreviewState),
        _meanings("Reasons of a preview", "Of the conditions `Complete` and `Failed`, besides reasons of a run.", PreviewReason),
        _meanings("Differences", "`spec.allow`, `status.differences` and `status.unexpected` of a RefreshPreview.", Difference),
        _meanings(
            "Exit codes of the runner",
            "Exit codes of the pod's container; the Job decides by them whether another attempt follows.",
            ExitCode,
        ),
    ]
    return "\n".join(parts)


def _meanings(title: str, says: str, kind: type[Enum]) -> str:
    meanings = docstrings(kind)
    rows = [(f"`{member.value}`", meanings.get(member.name, "")) for member in kind]
    return f"## {title}\n\n{says}\n\n{table(('word', 'means'), rows)}"


def docstrings(kind: type[Enum]) -> dict[str, str]:
    """Return the docstring below each member in the source."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        match statement, after:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


# metrics and alerts


def figures() -> str:
    """Return a table of every metric with its type and help text."""
    text = render([], datetime(2026, 1, 1, tzinfo=UTC))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return table(
        ("metric", "type", "means"),
        [(f"`{name}`", kinds[name], says) for name, says in re.findall(r"^# HELP (\S+)(?<!_created) (.+)$", text, re.MULTILINE)],
    )


def alerts() -> str:
    """Return a table of every alert with its expression."""
    (group,) = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    rows = [
        (
            f"[{rule['alert']}](../monitoring.md#{rule['alert'].lower()})",
            f"`{rule['expr']}`",
            rule.get("for", ""),
            rule["labels"]["severity"],
        )
        for rule in group["rules"]
    ]
    return table(("alert", "when", "for", "severity"), rows)


# permissions


def permissions() -> str:
    """Return the rules of every Role: those of the chart, with the reasons in the comments above them, and of refreshes and previews."""
    sections = [
        (heading, list(rules(text))) for path in sorted((CHART / "templates").glob("*.yaml")) for heading, text in roles(path.read_text())
    ]
    metadata: Any = {"name": "NAME", "namespace": "NAMESPACE", "uid": "UID", "creationTimestamp": "2026-01-01T00:00:00Z"}
    refresh = parse_refresh({"metadata": metadata})
    preview = parse_preview({"metadata": metadata, "spec": {"refresh": "NAME", "ref": {"branch": "BRANCH"}}})
    for who, role in (("runs of a refresh", rbac(refresh)[1]), ("pod of a preview", preview_permissions(preview, refresh)[1])):
        sections.append(_given(who, role))
    return "\n".join(f"## {heading}\n\n{table(('group', 'resources', 'may', 'why'), rows)}" for heading, rows in sections)


def _given(who: str, role: Any) -> tuple[str, list[tuple[str, str, str, str]]]:  # noqa: ANN401 - an object of Kubernetes
    """Return heading and rules of a Role that the operator creates."""
    why = "to write its status; the operator creates this Role and a ServiceAccount of the same name"
    given = [
        (
            ", ".join(rule["apiGroups"]),
            f"{', '.join(rule['resources'])} ({', '.join(rule['resourceNames'])})",
            ", ".join(rule["verbs"]),
            why,
        )
        for rule in role["rules"]
    ]
    return f"The {who}, in its namespace (`{role['metadata']['name']}`)", given


def roles(template: str) -> Iterator[tuple[str, str]]:
    """Yield the comment at the head of each Role of a template, and its text."""
    for text in template.split("---\n"):
        if "- apiGroups:" in text:
            says = text.partition("apiVersion:")[0].strip()
            yield says.removeprefix("# ")[:1].upper() + says.removeprefix("# ")[1:], text


def rules(template: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield group, resources, verbs and reason of each rule in a template."""
    pattern = r"((?:^ *#.*\n)*)^ *- apiGroups: \[(.*)\]\n *resources: \[(.*)\]\n(?: *resourceNames: \[(.*)\]\n)? *verbs: \[(.*)\]"
    for comment, groups, resources, names, verbs in re.findall(pattern, template, re.MULTILINE):
        why = " ".join(line.strip(" #") for line in comment.splitlines())
        yield groups.strip('"') or "core", resources + (f" ({re.sub(r'{{.*?}}', 'RELEASE', names)})" if names else ""), verbs, why


# the old flow


def faults() -> str:
    """Return a table of faults, what must be true after each, and the tests that show it."""
    rows = []
    for fault in yaml.safe_load((ROOT / "tests/faults.yaml").read_text()):
        shown = [f"{_sentence(test)} (`{test.partition('::')[0]}`)" for test in fault["tests"]]
        rows.append((fault["fault"], fault["what"], fault["then"], "; ".join(shown)))
    return table(("", "fault", "afterwards", "shown by"), rows)


def _sentence(test: str) -> str:
    """Return the name of a test as a sentence."""
    return re.sub(r"^f\d+ ", "", test.partition("::")[2].removeprefix("test_").replace("_", " "))


def facts() -> str:
    """Return a table of the old flow's facts, their counterparts now, and the tests that show these."""
    rows = []
    for fact in yaml.safe_load((ROOT / "tests/parity.yaml").read_text()):
        rows.append((fact["fact"], fact["now"], f"{_sentence(fact['test'])} (`{fact['test'].partition('::')[0]}`)"))
    return table(("then", "now", "shown by"), rows)
