"""Labels, annotations and owners of the objects that the operator creates; pure."""

import json
from hashlib import sha256
from typing import Final

from refresh_api import names as api
from refresh_api.objects import Json
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import Refresh

HASH_ANNOTATION: Final = f"{api.GROUP}/desired"
"""Annotation with a hash of the desired object. If the hash is current and the object differs, somebody has edited the object."""


def managed(refresh: Refresh, api_version: str, kind: str, name: str, body: Json) -> Json:
    """Return an object with this body that a refresh owns and the operator keeps up to date."""
    metadata: Json = {
        "name": name,
        "namespace": refresh.metadata.namespace,
        "labels": labels(refresh),
        "annotations": {HASH_ANNOTATION: sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]},
        "ownerReferences": [owner(api.KIND, refresh.metadata)],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def labels(refresh: Refresh) -> Json:
    """Return the labels of every object that belongs to a refresh."""
    return {api.REFRESH_LABEL: refresh.metadata.name, "app.kubernetes.io/managed-by": "refresh-operator"}


def run_annotations(refresh: Refresh) -> Json:
    """Return the annotations of every Job of a refresh."""
    return {api.UID_ANNOTATION: refresh.metadata.uid, api.GENERATION_ANNOTATION: str(refresh.metadata.generation)}


def additional_owner(refresh: Refresh) -> Json:
    """Return the owner reference to the refresh that a Job has in addition to its CronJob, so that the Job survives the CronJob."""
    return {**owner(api.KIND, refresh.metadata), "controller": False}


def owner(kind: str, metadata: Metadata) -> Json:
    """Return the owner reference to an object of this API, which controls what it owns."""
    return {
        "apiVersion": api.API_VERSION,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        # true would require a permission on finalizers, and only delay deletions
        "blockOwnerDeletion": False,
    }
