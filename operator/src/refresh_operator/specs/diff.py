"""Differences between the desired and the live object; pure.

Every field below the top-level fields of the desired object is compared, including fields that should not exist. In the metadata, only the
operator's own labels, annotations and owner are compared: others may add theirs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from refresh_api.names import KIND
from refresh_api.objects import Json
from refresh_api.values import quantity
from refresh_operator.state.kube_types import Metadata, mapping, metadata_of


@dataclass(frozen=True)
class Difference:
    """One field that differs."""

    path: str
    found: str
    """The actual value as JSON; empty if the field is missing."""


def differences(desired: Json, live: Json) -> tuple[Difference, ...]:
    """Return the fields in which `live` differs from `desired`, in the order of the desired object."""
    return tuple(_top(desired, live))


def owned_by(live: Json, uid: str) -> bool:
    """Return whether an object has an owner with this UID."""
    owners = _metadata(live).get("ownerReferences")
    return isinstance(owners, list) and any(isinstance(owner, dict) and owner.get("uid") == uid for owner in owners)


def owned_by_predecessor(live: Json, owner: Metadata) -> bool:
    """Return whether an object is owned by a deleted refresh of the same name as `owner`.

    The garbage collector deletes such an object eventually; after an outage of the API server, that can take long.
    """
    seen = metadata_of(live)
    is_older = seen.creation_timestamp <= owner.creation_timestamp
    owners = (each for each in seen.owner_references if each.controller and each.kind == KIND)
    return is_older and any(each.name == owner.name and each.uid != owner.uid for each in owners)


def replacement(desired: Json, live: Json) -> Json:
    """Return the object that replaces `live`: `desired`, with the resource version and the metadata that others have added."""
    wanted, there = _metadata(desired), _metadata(live)
    metadata: Json = {**there, **wanted}
    for key in ("labels", "annotations"):
        metadata[key] = {**mapping(there.get(key)), **mapping(wanted.get(key))}
    kept = {key: value for key, value in live.items() if key not in desired and key != "status"}
    return {**kept, **desired, "metadata": metadata}


def _top(desired: Json, live: Json) -> Iterator[Difference]:
    desired_metadata, live_metadata = _metadata(desired), _metadata(live)
    for key in ("labels", "annotations"):
        live_values = mapping(live_metadata.get(key))
        for name, value in mapping(desired_metadata.get(key)).items():
            yield from _field(f"metadata.{key}.{name}", value, live_values.get(name))
    yield from _field("metadata.ownerReferences", desired_metadata.get("ownerReferences"), live_metadata.get("ownerReferences"))
    for key, value in desired.items():
        if key not in ("apiVersion", "kind", "metadata"):
            yield from _field(key, value, live.get(key))


def _field(path: str, desired: JsonValue, live: JsonValue) -> Iterator[Difference]:
    if isinstance(desired, dict) and isinstance(live, dict):
        # a missing field equals null
        for key in {**desired, **live}:
            if key in desired or live[key] is not None:
                yield from _field(f"{path}.{key}", desired.get(key), live.get(key))
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        for number, (desired_item, live_item) in enumerate(zip(desired, live, strict=True)):
            yield from _field(f"{path}[{number}]", desired_item, live_item)
    elif not _same(path, desired, live):
        yield Difference(path, "" if live is None else json.dumps(live, sort_keys=True))


def _same(path: str, desired: JsonValue, live: JsonValue) -> bool:
    if desired == live and type(desired) is type(live):
        return True
    if isinstance(desired, str) and isinstance(live, str) and (".resources." in path or path.endswith(".sizeLimit")):
        try:
            return quantity(desired) == quantity(live)  # the API server writes 1024Mi as 1Gi
        except ValueError:
            return False
    return False


def _metadata(item: Json) -> Json:
    return mapping(item.get("metadata"))
