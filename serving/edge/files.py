"""The folder of route objects, and files that change in one step."""

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from serving.edge.config import EdgeConfig


def replace_file(path: Path, text: str) -> None:
    """Write a file aside and rename it, unless it already has this text.

    A reader sees the old or the new file, never a half; Envoy takes the rename as its signal.

    Raises:
        OSError: when it cannot be written; the old file is then unchanged.
    """
    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


class RouteFolder:
    """Reads the HTTPRoute objects of an environment."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config

    def signature(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return what changes when a file is added, removed or replaced."""
        entries = []
        for path in self._paths():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            entries.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(entries)

    def read(
        self, last_good: dict[str, dict[str, Any]]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Return the route objects and the problems, both by file name.

        A file with a problem keeps its last good object, if it ever had one.
        """
        routes: dict[str, dict[str, Any]] = {}
        problems: dict[str, str] = {}
        for path in self._paths():
            try:
                routes[path.name] = self._checked(yaml.safe_load(path.read_text("utf-8")))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, yaml.YAMLError) as error:
                problems[path.name] = f"{path}: {error}"
                if path.name in last_good:
                    routes[path.name] = last_good[path.name]
        return routes, problems

    def _paths(self) -> list[Path]:
        return sorted(self._config.routes_dir.glob("*.yaml"))

    def _checked(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or value.get("kind") != "HTTPRoute":
            raise ValueError("not an HTTPRoute object")
        metadata, spec = value.get("metadata"), value.get("spec")
        if not isinstance(metadata, dict) or not isinstance(spec, dict):
            raise ValueError("an HTTPRoute has metadata and spec")  # noqa: TRY004 - as any other
        if metadata.get("namespace") != self._config.namespace or not metadata.get("name"):
            raise ValueError(
                f"metadata: a name and the namespace {self._config.namespace} are needed"
            )
        parents = spec.get("parentRefs") or []
        if self._config.gateway not in [parent.get("name") for parent in parents]:
            raise ValueError(f"spec.parentRefs: none is the Gateway {self._config.gateway}")
        wanted = {"name": self._config.service, "port": self._config.service_port}
        for rule in spec.get("rules") or []:
            for backend in rule.get("backendRefs") or []:
                if {key: backend.get(key) for key in wanted} != wanted:
                    raise ValueError(
                        f"spec.rules.backendRefs: {backend} is not the router, {wanted}"
                    )
        return value
