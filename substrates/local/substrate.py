"""The substrate of a local environment."""

from pathlib import Path

import pulumi

from substrates.local import resources
from substrates.workload import Document, Job, Service


class LocalSubstrate:
    """Renders workloads as supervised processes below one environment directory."""

    def __init__(self, *, root: Path, home: Path) -> None:
        """Render below `home`, with the environments and the code of the project at `root`."""
        self._root = root
        self._home = home

    def service(self, service: Service, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A supervised process."""
        health = service.health
        port = service.ports[health.port] if health else 0
        return resources.Process(
            service.name,
            {
                **self._common(service),
                "ports": dict(service.ports),
                "health_url": f"http://127.0.0.1:{port}{health.path}" if health else "",
                "health_timeout_s": health.timeout_s if health else 0,
            },
            opts,
        )

    def job(self, job: Job, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A supervised process that runs once."""
        return resources.Job(
            job.name,
            {**self._common(job), "attempt": job.attempt, "wait_s": job.wait_s},
            opts,
        )

    def document(self, document: Document, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A file below the environment directory."""
        return resources.Document(
            document.name,
            {"home": str(self._home), "path": document.path, "content": document.content},
            opts,
        )

    def python(self, image: str) -> str:
        """The interpreter of an environment, such as `serving`."""
        return self.program(image, "python")

    def program(self, image: str, name: str) -> str:
        """A program of an environment."""
        directory = ".venv" if image == "infra" else f".venv-{image}"
        return str(self._root / directory / "bin" / name)

    def file(self, workload: str, name: str) -> str:
        """Path at which a workload finds one of its configuration files."""
        return str(self._home / "workloads" / workload / "files" / name)

    def input(self, uri: str) -> str:
        """Path of an input: relative ones lie below the state directory."""
        return str(self._home.parent / uri)

    def data(self, *parts: str) -> str:
        """Path of the environment's data."""
        return str(self._home.joinpath(*parts))

    def _common(self, workload: Service | Job) -> dict[str, object]:
        return {
            "home": str(self._home),
            "name": workload.name,
            "command": list(workload.command),
            "cwd": str(self._root),
            "environment": dict(workload.environment),
            "files": dict(workload.files),
            "stop_timeout_s": workload.stop_timeout_s,
        }
