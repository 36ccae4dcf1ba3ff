"""The models of the spec accept valid specs, and reject others with a helpful message."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from refresh_api.run_request import Manifest
from refresh_api.spec import RefreshSpec

SAMPLES = Path(__file__).parents[3] / "deploy" / "samples"


def minimal(**more: object) -> dict[str, object]:
    return {
        "schedule": "*/10 * * * *",
        "warehouse": {"secretRef": {"name": "warehouse"}},
        "layers": [{"name": "models", "select": ["tag:daily"]}],
        **more,
    }


@pytest.mark.parametrize("sample", ["phase2.yaml", "main.yaml"])
def test_a_sample_is_valid(sample):
    """Users copy the samples of the repository."""
    Manifest.model_validate(yaml.safe_load((SAMPLES / sample).read_text()))


def test_three_fields_suffice():
    """Every other field has its default."""
    spec = RefreshSpec.model_validate(minimal())
    assert (spec.time_zone, spec.timeout, spec.retries, spec.layers[0].timeout, spec.dbt.threads) == ("Etc/UTC", "15m", 2, "120s", 8)


def test_a_spec_survives_being_written_and_read():
    """Pods receive it as JSON."""
    spec = RefreshSpec.model_validate(minimal(resources={"limits": {"cpu": 2, "ephemeral-storage": "1Gi"}}))
    assert RefreshSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"shedule": "x"}, "shedule", "Extra inputs"),
        ({"schedule": "* * * *"}, "schedule", "five fields"),
        ({"schedule": "TZ=UTC * * * * *"}, "schedule", "timeZone"),
        ({"timeZone": "Local"}, "timeZone", "IANA"),
        ({"timeZone": "Mars/Olympus"}, "timeZone", "unknown time zone"),
        ({"timeout": "15"}, "timeout", "write a duration"),
        ({"layers": []}, "layers", "at least 1"),
        ({"layers": [{"name": "a", "select": []}]}, "layers.0.select", "at least 1"),
        ({"layers": [{"name": "a", "select": ["--full-refresh"]}]}, "layers.0.select.0", "not an option"),
        ({"layers": [{"name": "a", "select": ["x"]}, {"name": "a", "select": ["y"]}]}, "layers", "'a' is used twice"),
        ({"layers": [{"name": "cache", "select": ["x"]}]}, "", "name of another step"),
        ({"validation": {"maxNullShare": "0.1", "marts": [{"relation": "a.b"}]}}, "validation.maxNullShare", "write a percentage"),
        ({"validation": {"marts": [{"relation": "b"}]}}, "validation.marts.0.relation", "schema.name"),
        ({"validation": {"marts": [{"relation": "a.b"}, {"relation": "a.b"}]}}, "validation.marts", "'a.b' is used twice"),
        ({"resources": {"limits": {"memory": "4GB"}}}, "resources.limits.memory", "write a quantity"),
        ({"resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}}}, "resources", "must not exceed"),
        ({"notifications": [{}]}, "notifications.0", "exactly one of slack, email, teams"),
        ({"cache": {"baseURL": "dashboard-api:8000", "endpoints": ["/"]}}, "cache.baseURL", "http://"),
    ],
)
def test_a_bad_value_is_refused_where_it_stands(change, where, says):
    """The message names the field and says what to write."""
    with pytest.raises(ValidationError) as refused:
        RefreshSpec.model_validate(minimal(**change))
    found = [(".".join(map(str, error["loc"])), error["msg"]) for error in refused.value.errors()]
    assert any(place == where and says in message for place, message in found), found
