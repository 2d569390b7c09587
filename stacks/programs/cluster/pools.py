"""The model pools of an environment on Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Final

import pulumi

from components import adapter_sidecar, engine_gateway, model_engine
from components.adapter_sidecar import ADAPTERS, PUBLIC_KEY, AdapterSidecar
from components.engine_gateway import EngineGateway
from components.model_engine import Engine, ModelVolume, Nodes
from components.model_pool import ModelPool as PoolComponent
from components.model_pool import ModelPoolArgs, PodGroup, PoolClients
from components.pool_scaling import PoolScaling, PoolScalingArgs, Trigger
from registry.names import PoolName
from serving import engine_gateway as gateway_package
from serving.adapter_sync.config import AdapterSyncConfig
from serving.engine_gateway.bootstrap import GatewayPorts, render_bootstrap
from serving.settings import Listen
from stacks.config.environment import AdapterContract
from stacks.config.nodes import PoolNodes
from stacks.config.pools import BucketWeights, ModelPool, Pools, VolumeWeights, pod_gib
from stacks.engine_command import LOOPBACK, engine_command, engine_environment
from stacks.programs.cluster.context import SERVING, Cluster
from stacks.sizing import (
    GIB,
    SHARED_MEMORY_GIB,
    SIDECARS_GIB,
    SIDECARS_M,
    adapter_bytes,
    pod_cpu_m,
)

PORTS: Final = GatewayPorts(inference=8000, metrics=9100, engine=8001, admin=9901)
ADAPTER_SYNC_PORT: Final = 8084
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  inside a pod, behind its NetworkPolicy
_SCRATCH_GIB: Final = 10
_WAITING: Final = "router_waiting_requests"
"""Of the router: requests that wait for a pool without a server."""


@dataclass(frozen=True, kw_only=True)
class PoolMetrics:
    """Prometheus, which scrapes the pools and which KEDA asks."""

    scrapers: tuple[PodGroup, ...]
    url: str
    monitor_labels: Mapping[str, str]
    """Labels that it selects PodMonitors by."""


@dataclass(frozen=True, kw_only=True)
class PoolWiring:
    """What is around the pools."""

    nodes: Mapping[PoolName, PoolNodes]
    registry_uri: str
    evaluation_public_key: pulumi.Input[str]
    """PEM."""
    clients: tuple[PodGroup, ...]
    """Send requests: the router, the gateway behind it, evaluations."""
    discovery: tuple[PodGroup, ...]
    """Ask which adapters a server holds: the router, reconciliation."""
    metrics: PoolMetrics | None
    """None where no Prometheus is."""


@dataclass(frozen=True, kw_only=True)
class PoolEndpoint:
    """What others need of a pool."""

    served_base: str
    aliases: tuple[str, ...]
    """Model names by which clients mean it; the first is the one that errors name."""
    base_id: str
    takes_adapters: bool
    max_model_len: int
    quorum: int
    service: str
    """One address for inference."""
    headless_service: str
    """Lists the pods."""
    pods: Mapping[str, str]
    """Labels of the pods."""
    http_port: int
    adapter_sync_port: int
    metrics_port: int
    openai_url: str


def declare_pools(
    pools: Pools, contract: AdapterContract, cluster: Cluster, wiring: PoolWiring
) -> dict[PoolName, PoolEndpoint]:
    """Declare every pool of an environment."""
    return {
        name: _Declaration(name, config, contract, cluster, wiring).declare()
        for name, config in pools.items()
    }


@dataclass(frozen=True)
class _Declaration:
    pool: PoolName
    config: ModelPool
    contract: AdapterContract
    cluster: Cluster
    wiring: PoolWiring

    def declare(self) -> PoolEndpoint:
        name = f"{self.cluster.environment}-pool-{self.pool}"
        component = PoolComponent(name, self._args())
        if self._scaler is not None:
            self._scale(name, component, self._scaler)
        workload = f"vllm-{self.pool}"
        return PoolEndpoint(
            served_base=self.config.served_model_name,
            aliases=(self.pool, self.config.served_model_name, *self.config.aliases),
            base_id=self.config.base_id,
            takes_adapters=self.config.adapters,
            max_model_len=self.config.max_model_len,
            quorum=self.config.quorum,
            service=f"{workload}-svc",
            headless_service=f"{workload}-pods",
            pods={"app": workload},
            http_port=PORTS.inference,
            adapter_sync_port=ADAPTER_SYNC_PORT,
            metrics_port=PORTS.metrics,
            openai_url=f"http://{workload}-svc.{SERVING}.svc:{PORTS.inference}/v1",
        )

    @cached_property
    def _scaler(self) -> PoolMetrics | None:
        """Whom KEDA asks; None where the number of servers does not change."""
        replicas = self.config.replicas
        if replicas.max == replicas.min and not self.config.scale_to_zero:
            return None
        if "keda" in self.cluster.operators and self.wiring.metrics is not None:
            return self.wiring.metrics
        pulumi.log.warn(
            f"pools.{self.pool}: without KEDA and Prometheus it stays at {replicas.min} server(s)"
        )
        return None

    @property
    def _minimum(self) -> int:
        return 0 if self.config.scale_to_zero and self._scaler else self.config.replicas.min

    def _args(self) -> ModelPoolArgs:
        images, metrics = self.cluster.images, self.wiring.metrics
        has_operator = "prometheus" in self.cluster.operators
        return ModelPoolArgs(
            provider=self.cluster.kubernetes,
            namespace=SERVING,
            pool=self.pool,
            engine=self._engine(),
            gateway=EngineGateway(
                image=images.envoy,
                inference_port=PORTS.inference,
                metrics_port=PORTS.metrics,
            ),
            sidecar=AdapterSidecar(
                image=images.serving,
                port=ADAPTER_SYNC_PORT,
                object_store=self.cluster.object_store,
            ),
            files=self._files(),
            nodes=self._nodes(),
            replicas=self._minimum,
            is_scaled=self._scaler is not None,
            surge=self.config.surge,
            clients=PoolClients(
                inference=self.wiring.clients,
                discovery=self.wiring.discovery,
                scrapers=() if metrics is None else metrics.scrapers,
            ),
            monitor_labels=metrics.monitor_labels if metrics and has_operator else None,
        )

    def _engine(self) -> Engine:
        config, store = self.config, self.cluster.object_store
        machines = self.wiring.nodes[self.pool].instances
        source = config.weights.source
        memory = min(pod_gib(config, each) for each in machines) - SIDECARS_GIB
        on_cpu = config.cpu_engine
        return Engine(
            image=on_cpu.image if on_cpu else self.cluster.images.vllm,
            command=engine_command(config, self.contract, PORTS.engine),
            environment=engine_environment(config, store.environment),
            secrets=store.secrets if isinstance(source, BucketWeights) else {},
            cpu=self._cpu(),
            memory_mib=int(memory * 1024),
            shared_memory_mib=int(SHARED_MEMORY_GIB * 1024) * config.tensor_parallel_size,
            scratch_gib=_SCRATCH_GIB,
            adapters_gib=self._adapters_gib(),
            gpus=0 if on_cpu else config.tensor_parallel_size,
            model_volume=ModelVolume(claim=source.claim, directory=source.directory)
            if isinstance(source, VolumeWeights)
            else None,
            metrics_url=f"http://{LOOPBACK}:{PORTS.engine}/metrics",
            start_limit_s=config.start_limit_s,
            longest_stream_s=config.longest_stream_s,
        )

    def _cpu(self) -> str:
        if self.config.resources is not None:
            return self.config.resources.cpu
        gpus = self.config.tensor_parallel_size
        machines = self.wiring.nodes[self.pool].instances
        share = min(pod_cpu_m(each.vcpu, each.gpus, gpus) for each in machines)
        return f"{share - SIDECARS_M}m"

    def _adapters_gib(self) -> int:
        if not self.config.adapters:
            return 1
        each = adapter_bytes(self.config.profile, self.contract.max_lora_rank)
        # What replaces all others may come before they go.
        return ceil((2 * self.contract.max_cpu_loras + 1) * each / GIB)

    def _nodes(self) -> Nodes:
        nodes = self.wiring.nodes[self.pool]
        toleration = nodes.toleration
        return Nodes(
            # Types are names of AWS; elsewhere the labels of the nodes must do.
            instance_types=[each.name for each in nodes.instances] if self.cluster.aws else (),
            selector=nodes.selector,
            tolerations=() if toleration is None else (toleration,),
        )

    def _files(self) -> dict[str, pulumi.Input[str]]:
        drain = Path(gateway_package.__file__).with_name(model_engine.DRAIN_FILE)
        return {
            engine_gateway.CONFIG_FILE: render_bootstrap(
                PORTS, idle_s=self.config.longest_stream_s
            ),
            adapter_sidecar.CONFIG_FILE: self._adapter_sync().model_dump_json(exclude={"pod"}),
            model_engine.DRAIN_FILE: drain.read_text(),
            Path(PUBLIC_KEY).name: self.wiring.evaluation_public_key,
        }

    def _adapter_sync(self) -> AdapterSyncConfig:
        contract = self.contract
        return AdapterSyncConfig(
            listen=Listen(host=_EVERYWHERE, port=ADAPTER_SYNC_PORT),
            registry_uri=self.wiring.registry_uri,
            evaluation_public_key=Path(PUBLIC_KEY),
            vllm_url=f"http://{LOOPBACK}:{PORTS.engine}",
            served_base=self.config.served_model_name,
            adapters_dir=Path(ADAPTERS),
            pool=self.pool,
            max_loras=contract.max_loras,
            max_cpu_loras=contract.max_cpu_loras,
            max_lora_rank=contract.max_lora_rank,
            include_candidates=self.config.load_candidates,
        )

    def _scale(self, name: str, component: PoolComponent, metrics: PoolMetrics) -> None:
        scaling = self.config.scaling
        PoolScaling(
            name,
            PoolScalingArgs(
                provider=self.cluster.kubernetes,
                namespace=SERVING,
                workload=f"vllm-{self.pool}",
                minimum=self._minimum,
                maximum=self.config.replicas.max,
                cooldown_s=scaling.cooldown_s,
                scale_down_after_s=scaling.scale_down_after_s,
                prometheus_url=metrics.url,
                triggers=triggers(self.pool, self.config),
            ),
            pulumi.ResourceOptions(depends_on=[component.deployment]),
        )


def triggers(pool: PoolName, config: ModelPool) -> tuple[Trigger, ...]:
    """What the number of a pool's servers follows."""
    pods = f'{{namespace="{SERVING}",pod=~"vllm-{pool}-.+"}}'
    load = (
        Trigger(
            name="waiting-requests",
            query=f"sum(vllm:num_requests_waiting{pods})",
            metric_type="AverageValue",
            threshold=str(config.scaling.waiting_per_server),
            missing_is_zero=config.scale_to_zero,
        ),
        Trigger(
            name="kv-cache-use",
            query=f"avg(vllm:kv_cache_usage_perc{pods})",
            metric_type="Value",
            threshold=str(config.scaling.kv_cache_use),
            missing_is_zero=config.scale_to_zero,
        ),
    )
    if not config.scale_to_zero:
        return load
    routed = f'{{namespace="{SERVING}",pool="{pool}"}}'
    # A pool without pods has no metrics of its own: the router's wake it, and keep it awake.
    demand = " + ".join(
        f"({each} or vector(0))"
        for each in (
            f"sum({_WAITING}{routed})",
            f"sum(vllm:num_requests_running{pods})",
            f"sum(rate(router_requests_total{routed}[5m]))",
        )
    )
    awake = Trigger(
        name="demand",
        query=demand,
        metric_type="AverageValue",
        threshold=str(config.max_num_seqs),
        missing_is_zero=False,
    )
    return (*load, awake)
