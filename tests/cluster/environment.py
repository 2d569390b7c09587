"""A whole environment on the node, declared by the project's own programs and engine.

Nothing of it is a stand-in but what `place` and `differences` say: vLLM computes, on the CPU.
"""

import contextlib
import os
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from benchmarks.processes import free_port
from registry.evaluation import create_key_pair
from registry.names import Version
from registry.store import ObjectStore, open_store
from serving.edge.config import Address, EdgeConfig
from serving.edge.listeners import GATEWAY
from serving.edge.routes import environment_route_name
from stacks import job_specs
from stacks.config.load import ClusterStack, DomainStack, parse
from stacks.contract import OUTPUT, EnvironmentContract, parse_contract
from stacks.engine import open_stack
from stacks.paths import ROOT, StateDirectory
from stacks.programs import domain as domain_program
from stacks.programs.cluster import environment as environment_program
from stacks.programs.cluster.context import SERVING
from stacks.release_inputs import desired_release
from tests.cluster import environment_config as config
from tests.cluster import images, object_store, place
from tests.cluster.daemons import daemon
from tests.cluster.models import Models
from tests.cluster.node import Node
from tests.cluster.programs import FOLDER
from tests.cluster.releases import Released, publish_and_release
from tests.cluster.storage import add_volumes
from tests.cluster.strict import apply_strict

_ROUTES = "gateway.networking.k8s.io/v1"
_EDGE_S = 60
_FIRST = Version(major=1, minor=0)
_ENVIRONMENTS = {
    "infra": ".venv",
    "serving": ".venv-serving",
    "train": ".venv-train",
    "mlflow": ".venv-mlflow",
    "vllm": ".venv-vllm",
    "envoy": ".venv-edge",
}
"""Folder of the Python environment that an image of this name has."""


class Environment:
    """An environment on a node, as whoever operates it sees it."""

    def __init__(self, node: Node, folder: Path, store_url: str, models: Models) -> None:
        self.node = node
        self.folder = folder
        self.models = models
        self.volumes = folder / "volumes"
        """Folder of the disks, each with what the pod that has it writes."""
        self.private_key = folder / "keys" / "evaluation.key"
        self._store_url = store_url
        self._state = StateDirectory(folder / "state")
        self._images: dict[str, str] = {}
        self._contract: EnvironmentContract | None = None

    @property
    def registry(self) -> ObjectStore:
        """The registry of the environment."""
        return open_store("s3://registry")

    @property
    def warehouse(self) -> ObjectStore:
        """The warehouse of the environment."""
        return open_store("s3://warehouse")

    def prepare(self) -> None:
        """Make what a cluster that exists already has before the first `up`."""
        self.private_key.parent.mkdir(parents=True)
        self._state.path.mkdir()
        create_key_pair(self.private_key, self._public_key)
        weights = place.copy_weights(self.models.base, self.folder / "weights")
        needed = place.objects(weights, self.private_key.read_text())
        assert apply_strict(self.node.client, needed) == []
        self.volumes.mkdir()
        add_volumes(self.node.client, self.volumes, config.VOLUMES)
        self._images = {
            name: self.node.runtime.add(images.environment(name, folder))
            for name, folder in _ENVIRONMENTS.items()
        }

    def up(self, router: Mapping[str, Any] | None = None) -> Mapping[str, int]:
        """Bring the environment's stack up; return how many resources changed in which way.

        Args:
            router: Another configuration of the router.
        """
        values = config.environment(
            self._images,
            store=self._store_url,
            api_server=self._api_server(),
            public_key=self._public_key.read_text(),
        )
        if router is not None:
            values["pipeline:environment"]["router"] = dict(router)
        stack = parse(values, config.NAME, "the test")
        assert isinstance(stack, ClusterStack)
        done = self._up(config.NAME, partial(environment_program.run, stack), values)
        self._contract = parse_contract(done.outputs[OUTPUT].value, config.NAME)
        changes = done.summary.resource_changes or {}
        return {str(kind): count for kind, count in changes.items()}

    def up_domain(self, name: str, version: Version = _FIRST) -> str:
        """Release the adapter of a domain and bring its stack up; return its key."""
        values = config.domain(name, str(version))
        stack = parse(values, f"{config.NAME}-{name}", "the test")
        assert isinstance(stack, DomainStack)
        self.release(name, version, self.models.adapters[name])
        program = partial(domain_program.run, stack, jobs=job_specs.jobs)
        done = self._up(stack.name, program, values)
        assert done.outputs["release"].value["state"] == "live"
        return str(done.outputs["key"].value)

    def release(self, name: str, version: Version, adapter: Path) -> None:
        """Publish, judge and release an adapter, as the jobs of the domain's stack would."""
        stack = parse(config.domain(name, str(version)), f"{config.NAME}-{name}", "the test")
        assert isinstance(stack, DomainStack)
        assert stack.domain.trained is not None
        assert self._contract is not None
        desired = desired_release(stack.domain.trained, self._contract)
        released = Released(
            domain=name,
            version=version,
            adapter=adapter,
            base=config.BASE,
            inputs_digest=desired.inputs_digest,
            gate_digest=desired.gate,
        )
        publish_and_release(self.registry, released, self.private_key)

    @contextlib.contextmanager
    def edge(self) -> Iterator[str]:
        """Run Envoy with the HTTPRoutes that the API server has; gives its URL."""
        folder = self.folder / "edge"
        (folder / "routes").mkdir(parents=True)
        self._copy_routes(folder / "routes")
        edge = self._edge_config(folder)
        file = folder / "edge.json"
        file.write_text(edge.model_dump_json())
        command = [str(ROOT / ".venv/bin/python"), "-m"]
        logs = self.node.server.logs
        options = ["--config", str(file)]
        url = f"http://{edge.listen.host}:{edge.listen.port}"
        with (
            daemon("edge", [*command, "serving.edge", *options], logs),
            daemon("envoy", [*command, "serving.edge.launch", *options], logs) as envoy,
        ):
            envoy.wait(partial(_ready, edge.admin), _EDGE_S)
            yield url

    def _copy_routes(self, folder: Path) -> None:
        own = environment_route_name(GATEWAY)
        for route in self.node.client.list(_ROUTES, "HTTPRoute", SERVING):
            name = route["metadata"]["name"]
            # The translator is given this one with an answer that it knows.
            if name != own:
                kept = {"name": name, "namespace": SERVING}
                text = yaml.safe_dump({**route, "metadata": kept})
                (folder / f"{name}.yaml").write_text(text)

    def _edge_config(self, folder: Path) -> EdgeConfig:
        service = self.node.client.get("v1", "Service", "router", SERVING)["spec"]
        port = service["ports"][0]["port"]
        return EdgeConfig.model_validate(
            {
                "environment": config.NAME,
                "routes_dir": folder / "routes",
                "xds_dir": folder / "xds",
                "egctl": ROOT / ".tools/bin/egctl",
                "envoy": ROOT / ".venv-edge/bin/envoy",
                "listen": {"port": free_port()},
                "router": {"host": service["clusterIP"], "port": port},
                "admin": {"port": free_port()},
                "namespace": SERVING,
                "gateway": GATEWAY,
                "service": "router",
                "service_port": port,
            }
        )

    def _up(self, name: str, program: Any, values: dict[str, Any]) -> auto.UpResult:
        stack = open_stack(name, program=program, config=values, state=self._state)
        return stack.up(on_output=_log(self.node.server.logs / f"up-{name}.log"))

    def _api_server(self) -> str:
        found = self.node.client.get("v1", "Service", "kubernetes", "default")
        return str(found["spec"]["clusterIP"])

    @property
    def _public_key(self) -> Path:
        return self.private_key.with_suffix(".pub")


@contextlib.contextmanager
def environment(node: Node, folder: Path, models: Models) -> Iterator[Environment]:
    """Give an environment, prepared and not up, until the block ends."""
    with (
        object_store.object_store(node.machine.outer_address, config.BUCKETS) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in object_store.environment(store).items():
            patch.setenv(name, value)
        patch.setenv("KUBECONFIG", str(node.server.kubeconfig()))
        patch.setenv("PATH", os.pathsep.join([str(FOLDER), os.environ["PATH"]]))
        made = Environment(node, folder, store, models)
        made.prepare()
        yield made


def _ready(admin: Address) -> bool:
    with urllib.request.urlopen(f"http://{admin.host}:{admin.port}/ready", timeout=2) as answer:
        return bool(answer.status == HTTPStatus.OK)


def _log(path: Path) -> Any:
    def write(line: str) -> None:
        with path.open("a") as stream:
            stream.write(f"{line}\n")

    return write
