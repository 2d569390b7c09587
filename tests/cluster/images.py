"""Container images for the node, written here: a few links, and the rest from the machine.

An image of production carries its environment. These carry links to where the node shows the
machine's environments to every container (`node.shared_folders`), so that nothing is copied.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stacks.paths import ROOT
from tools.setup.node_packages import BUSYBOX

_REPOSITORY = "registry.test"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_USER = 65532
# Where programs of the machine expect their libraries; `/usr` itself comes from the node.
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_PASSWD = f"root:x:0:0::/root:/bin/sh\nnonroot:x:{_USER}:{_USER}::/tmp:/bin/sh\n"


@dataclass(frozen=True)
class Image:
    """An image, and the archive that containerd imports it from."""

    repository: str
    digest: str
    """Of its manifest."""
    archive: bytes = field(repr=False)

    @property
    def tag(self) -> str:
        """Reference by tag."""
        return f"{self.repository}:test"

    @property
    def reference(self) -> str:
        """Reference by digest, as stack files have it."""
        return f"{self.repository}@{self.digest}"


def pause() -> Image:
    """The image of the process that holds a pod's namespaces."""
    content = {"busybox": BUSYBOX.read_bytes()}
    return _image("pause", content, {}, {"Entrypoint": ["/busybox", "sleep", "2147483647"]})


def environment(name: str, folder: str) -> Image:
    """An image with one of the project's Python environments, and the project's code.

    Args:
        name: Last part of the repository.
        folder: Folder of the environment, such as `.venv-serving`.
    """
    programs = f"{ROOT / folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    # As in images/Dockerfile.
    variables = {
        "PATH": programs,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",
    }
    settings = {"Env": [f"{key}={value}" for key, value in variables.items()]}
    return _image(name, {"etc/passwd": _PASSWD.encode()}, _LINKS, settings)


def _image(
    name: str, files: Mapping[str, bytes], links: Mapping[str, str], settings: Mapping[str, Any]
) -> Image:
    layer = _layer(files, links)
    blobs = {_digest(layer): layer}
    config = _json(
        {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {**settings, "User": f"{_USER}:{_USER}"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(f"{kind}.config.v1+json", config),
            "layers": [_descriptor(f"{kind}.layer.v1.tar", layer)],
        }
    )
    blobs |= {_digest(blob): blob for blob in (config, manifest)}
    repository = f"{_REPOSITORY}/{name}"
    named = {
        **_descriptor(f"{kind}.manifest.v1+json", manifest),
        "annotations": {"io.containerd.image.name": f"{repository}:test"},
    }
    index = _json({"schemaVersion": 2, "manifests": [named]})
    return Image(repository, _digest(manifest), _archive(index, blobs))


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as layer:
        for name, content in files.items():
            _add(layer, name, content)
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            layer.addfile(link)
    return output.getvalue()


def _archive(index: bytes, blobs: Mapping[str, bytes]) -> bytes:
    """An OCI image layout."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for digest, blob in blobs.items():
            _add(archive, f"blobs/{digest.replace(':', '/')}", blob)
    return output.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    archive.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
