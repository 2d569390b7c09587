"""The program of an environment stack on Kubernetes: the parts, in the order they need each other.

Everything that runs is declared with a provider of its own, which depends on namespaces, operators
and the roles of the request path: nothing of it starts before them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pulumi

from components.bifrost import PORT as BIFROST_PORT
from components.model_pool import PodGroup
from components.pods import NAME_LABEL
from components.router import PEERS as ROUTER_PEERS
from components.router import SERVICE as ROUTER
from components.router_pod import HTTP_PORT
from registry.names import PoolName
from serving.billing.prices import PriceTable
from stacks import contract as contracts
from stacks.config.bifrost import Direct
from stacks.config.cluster_environment import ClusterEnvironment
from stacks.config.existing import ExistingCluster
from stacks.config.images import refuse_unbuilt
from stacks.config.load import ClusterStack
from stacks.config.phases import shortfall
from stacks.policies.names import Account
from stacks.programs.cluster.base import Base, declare_base
from stacks.programs.cluster.charts import Charts
from stacks.programs.cluster.context import OPERATIONS, SERVING, Cluster, Workload
from stacks.programs.cluster.contract import Parts, contract_of
from stacks.programs.cluster.edge import RouterAddress, declare_edge, edge_pods
from stacks.programs.cluster.gateway import (
    GATEWAY_PODS,
    Gateway,
    GatewayWiring,
    PoolAddress,
    declare_gateway,
)
from stacks.programs.cluster.namespaces import declare_namespaces
from stacks.programs.cluster.operations import (
    SAMPLER,
    CountedPool,
    CountedRouter,
    OperationsWiring,
    declare_operations,
    read_price_table,
    scraping,
)
from stacks.programs.cluster.operators import OperatorsArgs, declare_operators
from stacks.programs.cluster.pools import PoolEndpoint, PoolMetrics, PoolWiring, declare_pools
from stacks.programs.cluster.router import (
    RoutedPool,
    RouterEndpoint,
    RouterWiring,
    declare_router,
)
from stacks.programs.cluster.services import Services, declare_services
from stacks.programs.cluster.storage import Storage, declare_storage
from stacks.programs.cluster.stores import ServiceStores
from stacks.programs.cluster.training import EVALUATIONS, declare_training
from stacks.programs.errors import readable_errors

_ROUTERS = PodGroup(namespace=SERVING, labels={NAME_LABEL: ROUTER})
_SAMPLERS = PodGroup(namespace=OPERATIONS, labels=SAMPLER)


def run(stack: ClusterStack) -> None:
    """Declare an environment on Kubernetes.

    Raises:
        pulumi.RunError: The configuration does not make a working environment.
    """
    with readable_errors():
        config = stack.environment
        if (missing := shortfall(config.phase)) is not None:
            pulumi.log.warn(missing)
        refuse_unbuilt(config.images)
        prices = read_price_table(config.operations)
        foundation = _foundation(config)
        parts = _Serving(config, foundation, prices).declare()
        contract = contract_of(parts).apply(lambda known: known.model_dump(mode="json"))
        pulumi.export(contracts.OUTPUT, contract)


@dataclass(frozen=True, kw_only=True)
class _Foundation:
    """What everything that runs stands on."""

    base: Base
    cluster: Cluster
    """With the provider of everything that runs."""
    storage: Storage
    charts: Charts
    ready: Sequence[pulumi.Resource]


def _foundation(config: ClusterEnvironment) -> _Foundation:
    base = declare_base(config)
    charts = Charts(config.production)
    namespaces = declare_namespaces(config.services, base.cluster)
    operators = declare_operators(
        OperatorsArgs(
            provider=base.cluster.kubernetes,
            installed=config.operators.installed(),
            there=config.operators.there(),
            charts=charts,
            eks=base.eks,
            prefix=config.prefix,
            tags=base.cluster.tags,
            secrets=_secrets(config),
            databases=_arn(config, "rds", f"db:{config.prefix}-*"),
        )
    )
    storage = declare_storage(config.storage, base.cluster, prefix=config.prefix)
    roles = _roles(config, storage)
    ready = (*base.ready, *namespaces.ready, *operators.values(), *roles)
    return _Foundation(
        base=base,
        cluster=replace(base.cluster, kubernetes=base.workloads(depends_on=ready)),
        storage=storage,
        charts=charts,
        ready=ready,
    )


def _secrets(config: ClusterEnvironment) -> list[str]:
    """What External Secrets may read."""
    source = config.services.secrets
    if source.source == "existing":
        return []
    return [_arn(config, "secretsmanager", f"secret:{source.prefix}/*")]


def _arn(config: ClusterEnvironment, service: str, resource: str) -> str:
    cluster = config.cluster
    if isinstance(cluster, ExistingCluster):
        return ""
    partition = Account(
        account=cluster.account, region=cluster.region, prefix=config.prefix
    ).partition
    return f"arn:{partition}:{service}:{cluster.region}:{cluster.account}:{resource}"


def _roles(config: ClusterEnvironment, storage: Storage) -> list[pulumi.Resource]:
    """Who the pods of the request path are in AWS; before any of them starts."""
    in_pool: tuple[Workload, ...] = ("vllm", "adapter-sync")
    accounts: dict[str, tuple[Workload, ...]] = {
        ROUTER: ("router",),
        **{f"vllm-{pool}": in_pool for pool in config.served},
    }
    return [
        role
        for account, workloads in accounts.items()
        for role in storage.bind(workloads, namespace=SERVING, service_account=account)
    ]


@dataclass(frozen=True)
class _Serving:
    """Everything that runs."""

    config: ClusterEnvironment
    foundation: _Foundation
    prices: PriceTable

    def declare(self) -> Parts:
        config, cluster = self.config, self.foundation.cluster
        services = declare_services(
            config.services,
            cluster,
            self._stores(),
            bind=self._bind,
            charts=self.foundation.charts.source,
            after=self.foundation.ready,
        )
        pools = declare_pools(dict(config.served), config.adapters, cluster, self._pool_wiring())
        gateway = declare_gateway(config.gateway, cluster, self._gateway_wiring(pools))
        router = declare_router(
            config.router, cluster, self._router_wiring(services, pools, gateway)
        )
        edge = declare_edge(config.edge, cluster, self._router_address(router))
        for warning in (*gateway.warnings, *edge.warnings):
            pulumi.log.warn(warning)
        if config.has_adapters:
            declare_training(cluster, pools, mlflow=services.mlflow_peer)
        declare_operations(config.operations, cluster, self._operations_wiring(services, pools))
        return Parts(
            config=config,
            base=self.foundation.base,
            storage=self.foundation.storage,
            services=services,
            pools=pools,
            edge=edge,
        )

    def _bind(
        self, workload: Workload, namespace: str, service_account: str
    ) -> tuple[pulumi.Resource, ...]:
        return self.foundation.storage.bind(
            [workload], namespace=namespace, service_account=service_account
        )

    def _stores(self) -> ServiceStores:
        storage = self.foundation.storage
        return ServiceStores(
            prefix=self.config.prefix,
            kms_key=None if storage.identities is None else storage.identities.storage_key,
            mlflow_artifacts=storage.artifacts_uri,
            traces_uri=storage.traces_uri,
        )

    def _pool_wiring(self) -> PoolWiring:
        storage = self.foundation.storage
        behind = () if isinstance(self.config.gateway, Direct) else (GATEWAY_PODS,)
        return PoolWiring(
            nodes={pool: self.config.cluster.pool_nodes(pool) for pool in self.config.served},
            registry_uri=storage.registry_uri,
            evaluation_public_key=storage.evaluation_public_key,
            clients=(_ROUTERS, *behind, *((EVALUATIONS,) if self.config.has_adapters else ())),
            discovery=(_ROUTERS, _SAMPLERS),
            metrics=self._pool_metrics(),
        )

    def _pool_metrics(self) -> PoolMetrics | None:
        if not self._has_prometheus:
            return None
        prometheus = self.config.operations.prometheus
        scrapers = PodGroup(namespace=prometheus.namespace, labels=prometheus.pod_labels)
        return PoolMetrics(
            # The sampler counts with the servers' own numbers.
            scrapers=(scrapers, _SAMPLERS),
            url=prometheus.url,
            monitor_labels=prometheus.selector_labels,
        )

    def _gateway_wiring(self, pools: Mapping[PoolName, PoolEndpoint]) -> GatewayWiring:
        return GatewayWiring(
            pools={
                name: PoolAddress(
                    service=pool.service,
                    pods=PodGroup(namespace=SERVING, labels=pool.pods).at(pool.http_port),
                    served_base=pool.served_base,
                )
                for name, pool in pools.items()
            },
            router=_ROUTERS,
            prices=self.prices,
            max_body_mib=self.config.router.limits.max_body_mib,
            scraping=scraping(self.config.operations.prometheus, BIFROST_PORT),
        )

    def _router_wiring(
        self, services: Services, pools: Mapping[PoolName, PoolEndpoint], gateway: Gateway
    ) -> RouterWiring:
        storage, traces = self.foundation.storage, services.traces
        return RouterWiring(
            pools={
                name: RoutedPool(
                    served_base=pool.served_base,
                    aliases=pool.aliases,
                    quorum=pool.quorum,
                    headless_service=pool.headless_service,
                    pods=pool.pods,
                    http_port=pool.http_port,
                    adapter_sync_port=pool.adapter_sync_port,
                    via=gateway.via.get(name),
                )
                for name, pool in pools.items()
            },
            registry_uri=storage.registry_uri,
            warehouse_uri=storage.warehouse_uri,
            evaluation_public_key=storage.evaluation_public_key,
            gateway=(edge_pods(self.config.edge, HTTP_PORT),),
            samplers=(_SAMPLERS.at(HTTP_PORT),),
            tracing=traces.tracing,
            secrets={**traces.secrets, **gateway.secrets},
            customer_keys=gateway.customer_keys,
            egress=(*traces.peers, *gateway.egress),
            scraping=scraping(self.config.operations.prometheus, HTTP_PORT),
        )

    def _router_address(self, router: RouterEndpoint) -> RouterAddress:
        return RouterAddress(
            service=router.service,
            port=router.port,
            pods=_ROUTERS.at(router.port),
            max_body_mib=self.config.router.limits.max_body_mib,
        )

    def _operations_wiring(
        self, services: Services, pools: Mapping[PoolName, PoolEndpoint]
    ) -> OperationsWiring:
        storage = self.foundation.storage
        return OperationsWiring(
            registry_uri=storage.registry_uri,
            warehouse_uri=storage.warehouse_uri,
            pools={
                name: CountedPool(
                    headless_service=pool.headless_service,
                    pods=pool.pods,
                    metrics_port=pool.metrics_port,
                    adapter_sync_port=pool.adapter_sync_port if pool.takes_adapters else None,
                    max_model_len=pool.max_model_len,
                )
                for name, pool in pools.items()
            },
            router=CountedRouter(
                headless_service=ROUTER_PEERS, pods=_ROUTERS.labels, port=HTTP_PORT
            ),
            request_timeout_s=self.config.router.limits.longest_answer_s,
            traces=services.traces,
            bind=self._bind,
            after=(*self.foundation.ready, *services.ready.values()),
        )

    @property
    def _has_prometheus(self) -> bool:
        return "prometheus" in self.config.operators.there()
