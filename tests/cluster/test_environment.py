"""A whole environment on a real node: vLLM, adapter-sync, Envoy, router, MLflow, HTTPRoutes.

The tests share one environment and run in the order of the file: each leaves it serving.
"""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from benchmarks.swap_adapters import PROMPTS
from components.pods import NAME_LABEL
from components.router import SERVICE as ROUTER
from registry.names import Version
from serving.pod_status import PodStatus
from stacks.programs.cluster.context import OPERATIONS, SERVING
from stacks.programs.cluster.pools import ADAPTER_SYNC_PORT, PORTS
from tests.cluster import environment_config as config
from tests.cluster.api_server import definitions
from tests.cluster.client import Object, has_condition
from tests.cluster.environment import Environment, environment
from tests.cluster.load import Customer, load
from tests.cluster.models import WORDS, make_models
from tests.cluster.node import node
from tests.cluster.programs import PROVIDER, require, require_node
from tests.cluster.releases import truncated
from tests.cluster.strict import apply_strict
from tests.cluster.usage import Recorded, read_disks, read_shipped

# The first test waits for all of it to come up.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]

_CORRUPT, _SOUND = "bank-ledger", "stock-order"
_ANSWERS_S = 180
_ENDS_S = 180
_STARTS_S = 400
_SHIPPED_S = 120


@dataclass(frozen=True)
class World:
    """The environment, up, with a customer for each domain."""

    environment: Environment
    customers: Mapping[str, Customer]

    def recorded(self) -> Recorded:
        """What is on the disks of all routers."""
        return read_disks(self.environment.volumes)

    def model_pods(self) -> dict[str, Object]:
        """The pods of the pool by name."""
        return {each["metadata"]["name"]: each for each in self._pods("app", "vllm-slm")}

    def router_pods(self) -> set[str]:
        """The pods of the router by what no later pod of the same name has."""
        return {each["metadata"]["uid"] for each in self._pods(NAME_LABEL, ROUTER)}

    def routers_are_updated(self) -> bool:
        """Whether every router has the newest configuration and is ready."""
        found = self.environment.node.client.get("apps/v1", "StatefulSet", ROUTER, SERVING)
        status = found["status"]
        return (
            status["observedGeneration"] == found["metadata"]["generation"]
            and status["currentRevision"] == status["updateRevision"]
            and status.get("readyReplicas") == config.ROUTERS
        )

    def _pods(self, label: str, value: str) -> list[Object]:
        pods = self.environment.node.client.list("v1", "Pod", SERVING)
        return [each for each in pods if each["metadata"]["labels"].get(label) == value]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An environment on a machine of its own, and the stacks of two domains in it."""
    require_node()
    require(PROVIDER)
    models = make_models(tmp_path_factory.mktemp("models"))
    folder = tmp_path_factory.mktemp("environment")
    with (
        node(tmp_path_factory.mktemp("node")) as running,
        environment(running, folder, models) as made,
    ):
        assert apply_strict(running.client, definitions("gateway-api")) == []
        made.up()
        keys = {domain: made.up_domain(domain) for domain in WORDS}
        with made.edge() as edge:
            customers = {
                domain: Customer(edge=edge, domain=domain, key=key) for domain, key in keys.items()
            }
            for customer in customers.values():
                _until(partial(_answers, customer), _ANSWERS_S, "answers")
            yield World(made, customers)


def _answers(customer: Customer) -> bool:
    return customer.ask(PROMPTS[0]).succeeded


def _until(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not so within {timeout_s:.0f} s: {what}"
        time.sleep(1)


def test_a_second_up_changes_nothing(world: World) -> None:
    assert set(world.environment.up()) <= {"same", "read"}


def test_everything_that_was_declared_is_ready(world: World) -> None:
    client = world.environment.node.client
    router = client.get("apps/v1", "StatefulSet", "router", SERVING)["status"]
    assert router["readyReplicas"] == config.ROUTERS
    pool = client.get("apps/v1", "Deployment", "vllm-slm", SERVING)["status"]
    assert pool["readyReplicas"] == config.SERVERS
    deployments = client.list("apps/v1", "Deployment", OPERATIONS)
    assert "mlflow" in {each["metadata"]["name"] for each in deployments}
    assert [each for each in deployments if not has_condition(each, "Available")] == []


@pytest.mark.parametrize("domain", WORDS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_domain_is_answered_by_its_own_adapter(world: World, domain: str, stream: bool) -> None:
    answer = world.customers[domain].ask(PROMPTS[0], stream=stream)
    assert answer.succeeded, answer
    assert set(answer.text.split()) == {WORDS[domain]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"domain": "nobody"}, requests.codes.not_found),
        ({"key": "cmp_bank-ledger_wrong"}, requests.codes.unauthorized),
        ({"domain": "stock-order"}, requests.codes.forbidden),
    ],
)
def test_who_may_not_ask_is_refused(world: World, change: Mapping[str, str], status: int) -> None:
    stranger = dataclasses.replace(world.customers["bank-ledger"], **change)
    assert stranger.ask(PROMPTS[0]).status == status


def test_nobody_loads_adapters_into_a_model_server_from_outside_of_its_pod(world: World) -> None:
    for pod in world.model_pods().values():
        server = f"http://{pod['status']['podIP']}:{PORTS.inference}"
        assert requests.get(f"{server}/health", timeout=10).status_code == requests.codes.ok
        body = {"lora_name": "stolen", "lora_path": "/adapters"}
        answer = requests.post(f"{server}/v1/load_lora_adapter", json=body, timeout=10)
        assert answer.status_code == requests.codes.forbidden


def test_a_model_server_that_is_killed_under_load_fails_what_it_was_sending(world: World) -> None:
    with load(world.customers) as running:
        _until(lambda: len(running.answers) >= 2 * len(WORDS), _ANSWERS_S, "load")
        _kill_engine(next(iter(world.model_pods().values())))
        after = len(running.answers)
        _until(lambda: len(running.answers) >= after + 4 * len(WORDS), _ANSWERS_S, "load goes on")
    assert [each for each in running.failures() if not each.begun] == []
    _assert_all_recorded(world, {each.request_id for each in running.answers})


def _kill_engine(pod: Object) -> None:
    """Kill vLLM alone: the pod and its sidecars go on, and the kubelet starts it again."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_inside = pod["metadata"]["uid"] in (process / "cgroup").read_text()
            if is_inside and b"vllm\0serve" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    assert killed == 1


def test_a_model_server_that_goes_under_load_loses_nothing(world: World) -> None:
    client = world.environment.node.client
    _until(lambda: _all_hold_releases(world), _STARTS_S, "every model server holds every release")
    with load(world.customers) as running:
        _until(lambda: len(running.answers) >= 2 * len(WORDS), _ANSWERS_S, "load")
        name, pod = next(iter(world.model_pods().items()))
        client.delete({"apiVersion": "v1", "kind": "Pod", **pod})
        _until(lambda: name not in world.model_pods(), _ENDS_S, f"{name} ends")
        after = len(running.answers)
        _until(lambda: len(running.answers) >= after + 2 * len(WORDS), _ANSWERS_S, "load goes on")
    assert [each for each in running.failures() if not each.begun] == []
    _assert_all_recorded(world, {each.request_id for each in running.answers})


def test_a_rolling_update_of_the_router_drops_nothing(world: World) -> None:
    before = world.router_pods()
    with load(world.customers) as running:
        _until(lambda: len(running.answers) >= 2 * len(WORDS), _ANSWERS_S, "load")
        world.environment.up(config.router(longest_wait_s=60))
        # The provider of the tests takes the status of before the update for its end; later ones,
        # from pulumi-kubernetes#4094 on, do not.
        _until(world.routers_are_updated, _ENDS_S, "the routers are updated")
        after = len(running.answers)
        _until(lambda: len(running.answers) >= after + 2 * len(WORDS), _ANSWERS_S, "load goes on")
    assert not before & world.router_pods()
    assert running.failures() == []
    asked = {each.request_id for each in running.answers}
    _assert_all_recorded(world, asked)
    warehouse = world.environment.warehouse
    _until(lambda: asked <= set(read_shipped(warehouse)), _SHIPPED_S, "events are shipped")


def _assert_all_recorded(world: World, asked: set[str]) -> None:
    recorded = world.recorded()
    assert asked - set(recorded.events) == set()
    assert recorded.orphans == set()
    assert recorded.repeated == []


def test_a_corrupt_adapter_harms_its_own_domain_alone(world: World) -> None:
    made = world.environment
    folder = truncated(made.models.adapters[_CORRUPT], made.folder / "corrupt")
    made.release(_CORRUPT, Version(major=1, minor=1), folder)
    refused = f"{_CORRUPT}-v1.1"
    _until(lambda: refused in _failed(world), _ANSWERS_S, f"{refused} is refused")
    for domain, customer in world.customers.items():
        answer = customer.ask(PROMPTS[0])
        assert answer.succeeded, answer
        # The version before it goes on to answer.
        assert set(answer.text.split()) == {WORDS[domain]}


def _failed(world: World) -> set[str]:
    """Served names that every model server which is ready could not load."""
    found = [{name for name, _ in status.failed()} for status in _statuses(world)]
    return set.intersection(*found) if found else set()


def _all_hold_releases(world: World) -> bool:
    wanted = {f"{domain}-v1.0" for domain in WORDS}
    held = [{name for name, _ in status.loaded()} for status in _statuses(world)]
    return len(held) == config.SERVERS and all(wanted <= each for each in held)


def _statuses(world: World) -> list[PodStatus]:
    """What adapter-sync says in each pod that is ready."""
    ready = [pod for pod in world.model_pods().values() if has_condition(pod, "Ready")]
    urls = [f"http://{pod['status']['podIP']}:{ADAPTER_SYNC_PORT}/status" for pod in ready]
    return [PodStatus.model_validate(requests.get(url, timeout=10).json()) for url in urls]
