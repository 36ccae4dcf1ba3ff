"""Old field names at a real API server: `kubectl apply` rejects each and prints the new name."""

import json

import pytest

from refresh_api import renamed
from support.spec_validation import FULL_SPEC, value_at, with_value

FIELDS = pytest.mark.parametrize("field", renamed.SPEC_FIELDS, ids=[field.path for field in renamed.SPEC_FIELDS])
VALUES = {"string": "Wait", "integer": 5, "array": ["zone_id"], "object": {"name": "main", "column": "day", "maxAgeDays": 3}}


def with_old_name(field: renamed.RenamedField):
    """Return a full spec with one field under its old name instead of the new one."""
    route: list[str | int] = []
    *parents, old = field.path.split(".")
    for name in parents:
        route += [name.removesuffix("[]"), 0] if name.endswith("[]") else [name]
    spec = with_value(FULL_SPEC, (*route, old), VALUES[str(field.form["type"])])
    del value_at(spec, tuple(route))[field.new]
    return spec


def applied(contract, spec):
    body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "renamed"}, "spec": spec}
    return contract.attempt("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(body))


@FIELDS
def test_apply_says_the_new_name_of_an_old_field(contract, field):
    """An old file would otherwise be rejected with an unknown field, without the new name."""
    done = applied(contract, with_old_name(field))
    assert done.returncode != 0
    place = field.path.replace("[]", "[0]")
    assert f"spec.{place}: Invalid value" in done.stderr
    assert f"renamed: write {field.new} instead" in done.stderr


def test_apply_takes_the_full_spec_with_its_new_names(contract):
    """Control of all rejections."""
    done = applied(contract, FULL_SPEC)
    assert done.returncode == 0, done.stderr
