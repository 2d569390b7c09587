"""What a cluster that exists already holds before the first `up`: made here by the test."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacks.programs.cluster.context import OPERATIONS, SERVING, TRAINING
from tests.cluster import object_store
from tests.cluster.client import Object
from tests.cluster.environment_config import OBJECT_STORE, WEIGHTS

_USER = 65532
_SIZE, _ACCESS = "1Gi", "ReadOnlyMany"
_NAMESPACES = (SERVING, OPERATIONS, TRAINING)
_MLFLOW = {
    "username": "pipeline",
    "password": "a password of the test",
    "flask-secret-key": "a key of the test",
}


def objects(weights: Path, evaluation_key: str) -> list[Object]:
    """Namespaces, Secrets, and the volume of the base model with its claim.

    Args:
        weights: Folder of the base model.
        evaluation_key: PEM of the private key of verdicts.
    """
    return [
        *(_object("v1", "Namespace", each) for each in _NAMESPACES),
        *(_secret(each, OBJECT_STORE, object_store.CREDENTIALS) for each in _NAMESPACES),
        *(_secret(each, "mlflow", _MLFLOW) for each in _NAMESPACES),
        _secret(TRAINING, "evaluation-key", {"evaluation.pem": evaluation_key}),
        # The jobs of a release that is live stay declared; none of them shall run.
        _object("v1", "ResourceQuota", "no-jobs", TRAINING, spec={"hard": {"pods": "0"}}),
        _volume(weights),
        _claim(),
    ]


def copy_weights(base_model: Path, folder: Path) -> Path:
    """Copy the base model to where the user of the pods may read it; return the folder."""
    shutil.copytree(base_model, folder)
    for each in (folder, *folder.iterdir()):
        shutil.chown(each, _USER, _USER)
    return folder


def _volume(weights: Path) -> Object:
    return _object(
        "v1",
        "PersistentVolume",
        WEIGHTS,
        spec={
            "capacity": {"storage": _SIZE},
            "accessModes": [_ACCESS],
            "hostPath": {"path": str(weights), "type": "Directory"},
            "claimRef": {"namespace": SERVING, "name": WEIGHTS},
        },
    )


def _claim() -> Object:
    return _object(
        "v1",
        "PersistentVolumeClaim",
        WEIGHTS,
        SERVING,
        spec={
            "accessModes": [_ACCESS],
            # Of no class: it is the volume of that name, and no other.
            "storageClassName": "",
            "volumeName": WEIGHTS,
            "resources": {"requests": {"storage": _SIZE}},
        },
    )


def _secret(namespace: str, name: str, values: Mapping[str, str]) -> Object:
    return _object("v1", "Secret", name, namespace, stringData=dict(values))


def _object(
    api_version: str, kind: str, name: str, namespace: str | None = None, **body: Any
) -> Object:
    metadata = {"name": name, **({} if namespace is None else {"namespace": namespace})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
