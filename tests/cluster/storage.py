"""Volumes for the node: made beforehand, since nothing on it makes them when a claim comes.

Unlike a disk's, their capacity is a word: nothing holds a pod to it.
"""

import os
from pathlib import Path

from tests.cluster.client import Client, Object
from tests.cluster.strict import apply_strict

_CLASS = "standard"
_USER = 65532


def add_volumes(client: Client, folder: Path, count: int, *, capacity: str = "100Gi") -> None:
    """Let the next claims have a volume each, of the default StorageClass.

    Args:
        client: To the node's API server.
        folder: Where their content lies on this machine; it exists.
        count: How many claims.
        capacity: Each claim may ask for this much.
    """
    first = len(client.list("v1", "PersistentVolume"))
    volumes = [_volume(folder / f"volume-{first + n}", capacity) for n in range(count)]
    refusals = apply_strict(client, [_storage_class(), *volumes])
    assert refusals == []


def _storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": _CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
    }


def _volume(path: Path, capacity: str) -> Object:
    path.mkdir()
    # The kubelet gives such a folder to no group; a disk it would give to the pod's.
    os.chown(path, _USER, _USER)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": path.name},
        "spec": {
            "capacity": {"storage": capacity},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": _CLASS,
            "hostPath": {"path": str(path), "type": "Directory"},
        },
    }
