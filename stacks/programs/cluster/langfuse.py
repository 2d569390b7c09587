"""Langfuse of an environment on Kubernetes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws

from components import postgres, valkey
from components.charts import ChartSource, LockedChart, LockedChartArgs
from components.external_secrets import RemoteSecret
from components.langfuse import Langfuse, LangfuseArgs
from components.langfuse_values import (
    KEYS,
    RELEASE,
    ClickHouseLogin,
    LangfuseSettings,
    OperatedClickHouse,
    PostgresLogin,
    ValkeyLogin,
)
from components.pods import NAME_LABEL, NetworkPeer, Peer, PodPeer, SecretKey
from stacks.config import services as config
from stacks.config.load import ConfigError
from stacks.programs.cluster.context import LANGFUSE, OPERATIONS, SERVING, Cluster
from stacks.programs.cluster.secrets import SecretNeed, refuse_missing, remote_name
from stacks.programs.cluster.stores import (
    ServiceStores,
    account_of,
    postgres_of,
    postgres_peers,
    valkey_of,
    valkey_peers,
)
from stacks.programs.cluster.traces import LANGFUSE_WEB_PORT, PROJECT_KEYS
from stacks.telemetry import NO_TELEMETRY

Charts = Callable[[str], ChartSource]
"""The chart of a name, as the lock file pins it."""

CLICKHOUSE_OPERATOR: Final = "clickhouse-operator"
"""Name of the chart, of its release and of its namespace."""
CERT_MANAGER: Final = "cert-manager"
"""Likewise; makes the certificate of the operator's webhook."""

_VERSION: Final = "4.4.0"
"""Of Langfuse: what chart langfuse 2.0.0 is made for."""
_KEY: Final = "services.traces.secret"
_POSTGRES: Final = "langfuse-postgres"
_BROWSER_URL: Final = f"http://localhost:{LANGFUSE_WEB_PORT}"


@dataclass(frozen=True, kw_only=True)
class LangfuseDatabases:
    """Where Langfuse logs in, whoever made the databases."""

    postgres: PostgresLogin
    valkey: ValkeyLogin
    made: tuple[RemoteSecret, ...] = ()
    """Secrets with passwords that AWS made."""


def declare_databases(
    services: config.ServicesConfig, cluster: Cluster, stores: ServiceStores
) -> LangfuseDatabases | None:
    """Declare the managed databases of Langfuse; None where traces go elsewhere.

    Raises:
        ConfigError: The token of the cache is missing, or the cluster is in no account.
    """
    traces = services.traces
    if not isinstance(traces, config.LangfuseTraces):
        return None
    login, made = _postgres(traces, cluster, stores)
    return LangfuseDatabases(
        postgres=login, valkey=_valkey(services.secrets, traces, cluster, stores), made=made
    )


def needs(services: config.ServicesConfig) -> list[SecretNeed]:
    """Langfuse's own Secrets, and the project's keys for the routers and the reconciliation."""
    traces = services.traces
    if not isinstance(traces, config.LangfuseTraces):
        return []
    own = [
        *KEYS,
        *(["postgres-password"] if traces.database.kind == "external" else []),
        *(["valkey-password"] if traces.cache.kind == "external" else []),
    ]
    project = tuple(PROJECT_KEYS.values())
    found = [
        SecretNeed(key=_KEY, namespace=LANGFUSE, secret=traces.secret, properties=tuple(own)),
        SecretNeed(key=_KEY, namespace=SERVING, secret=traces.secret, properties=project),
        SecretNeed(key=_KEY, namespace=OPERATIONS, secret=traces.secret, properties=project),
    ]
    if isinstance(traces.cache, config.ElastiCacheValkey):
        found.append(
            SecretNeed(
                key="services.traces.cache.secret",
                namespace=LANGFUSE,
                secret=traces.cache.secret,
                properties=("password",),
            )
        )
    return found


def declare_langfuse(
    traces: config.LangfuseTraces,
    cluster: Cluster,
    stores: ServiceStores,
    databases: LangfuseDatabases,
    charts: Charts,
    after: Sequence[pulumi.Resource],
) -> Langfuse:
    """Declare Langfuse, and the operator of its ClickHouse where the cluster has none.

    Raises:
        ConfigError: There is no bucket for it.
    """
    operated = isinstance(traces.clickhouse, config.ClickHouseOperator)
    return Langfuse(
        f"{cluster.environment}-langfuse",
        LangfuseArgs(
            provider=cluster.kubernetes,
            namespace=LANGFUSE,
            chart=charts("langfuse"),
            settings=_settings(traces, cluster, stores, databases),
            clients=[
                PodPeer(namespace=SERVING, labels={NAME_LABEL: "router"}, port=LANGFUSE_WEB_PORT),
                PodPeer(
                    namespace=OPERATIONS,
                    labels={NAME_LABEL: "billing-reconciliation"},
                    port=LANGFUSE_WEB_PORT,
                ),
            ],
            egress=_peers(traces, cluster),
            operator=CLICKHOUSE_OPERATOR if operated else None,
        ),
        pulumi.ResourceOptions(depends_on=[*after, *_operator(traces.clickhouse, cluster, charts)]),
    )


def _operator(
    clickhouse: config.ClickHouseOperator | config.ExternalClickHouse,
    cluster: Cluster,
    charts: Charts,
) -> tuple[pulumi.Resource, ...]:
    if not isinstance(clickhouse, config.ClickHouseOperator) or clickhouse.operator == "present":
        return ()
    before: tuple[pulumi.Resource, ...] = cluster.aws.ready if cluster.aws else ()
    if clickhouse.cert_manager == "install":
        before = (_install(CERT_MANAGER, {"crds": {"enabled": True}}, cluster, charts, before),)
    return (_install(CLICKHOUSE_OPERATOR, {}, cluster, charts, before),)


def _install(
    name: str,
    values: Mapping[str, Any],
    cluster: Cluster,
    charts: Charts,
    after: Sequence[pulumi.Resource],
) -> pulumi.Resource:
    chart = LockedChart(
        f"{cluster.environment}-{name}",
        LockedChartArgs(
            provider=cluster.kubernetes,
            release=name,
            source=charts(name),
            namespace=name,
            # What its pods need is not documented; `restricted` might refuse them.
            pod_security="baseline",
            values=values,
        ),
        pulumi.ResourceOptions(depends_on=list(after)),
    )
    return chart.installed


def _settings(
    traces: config.LangfuseTraces,
    cluster: Cluster,
    stores: ServiceStores,
    databases: LangfuseDatabases,
) -> LangfuseSettings:
    if stores.traces_uri is None:
        raise ConfigError(
            "storage.traces_uri: is missing, and Langfuse keeps its events there: name a bucket"
        )
    store = urlsplit(stores.traces_uri)
    folder = store.path.strip("/")
    return LangfuseSettings(
        version=_VERSION,
        web_image=traces.web_image,
        worker_image=traces.worker_image,
        url=traces.url or _BROWSER_URL,
        secret=traces.secret,
        user_email=traces.user_email,
        retention_days=traces.retention_days,
        web_replicas=traces.web_replicas,
        worker_replicas=traces.worker_replicas,
        postgres=databases.postgres,
        valkey=databases.valkey,
        clickhouse=_clickhouse(traces.clickhouse),
        bucket=store.netloc,
        folder=f"{folder}/" if folder else "",
        region=cluster.object_store.environment.get("AWS_REGION", "auto"),
        object_store=cluster.object_store,
        environment=NO_TELEMETRY,
    )


def _postgres(
    traces: config.LangfuseTraces, cluster: Cluster, stores: ServiceStores
) -> tuple[PostgresLogin, tuple[RemoteSecret, ...]]:
    database = traces.database
    if isinstance(database, config.ExternalPostgres):
        login = PostgresLogin(
            host=database.host,
            port=database.port,
            database=database.database,
            username=database.username,
            password=SecretKey(secret=traces.secret, key="postgres-password"),
        )
        return login, ()
    managed = postgres_of(database, cluster, stores, RELEASE)
    made = RemoteSecret(
        namespace=LANGFUSE,
        secret=_POSTGRES,
        remote=managed.secret_arn,
        properties=("password",),
    )
    login = PostgresLogin(
        host=managed.host,
        port=postgres.PORT,
        database=RELEASE,
        username=RELEASE,
        password=SecretKey(secret=_POSTGRES, key="password"),
    )
    return login, (made,)


def _valkey(
    secrets: config.Secrets,
    traces: config.LangfuseTraces,
    cluster: Cluster,
    stores: ServiceStores,
) -> ValkeyLogin:
    cache = traces.cache
    if isinstance(cache, config.ExternalValkey):
        return ValkeyLogin(
            host=cache.host,
            port=cache.port,
            tls=cache.tls,
            password=SecretKey(secret=traces.secret, key="valkey-password"),
        )
    token = _auth_token(secrets, cluster, cache.secret)
    managed = valkey_of(cache, cluster, stores, service=RELEASE, auth_token=token)
    return ValkeyLogin(
        host=managed.host,
        port=valkey.PORT,
        tls=True,
        password=SecretKey(secret=cache.secret, key="password"),
    )


def _clickhouse(
    clickhouse: config.ClickHouseOperator | config.ExternalClickHouse,
) -> OperatedClickHouse | ClickHouseLogin:
    if isinstance(clickhouse, config.ClickHouseOperator):
        return OperatedClickHouse(
            replicas=clickhouse.replicas,
            keepers=clickhouse.keepers,
            storage=f"{clickhouse.storage_gib}Gi",
            storage_class=clickhouse.storage_class,
            cpu=clickhouse.cpu,
            memory=clickhouse.memory,
        )
    return ClickHouseLogin(
        host=clickhouse.host,
        tls=clickhouse.tls,
        http_port=clickhouse.http_port,
        native_port=clickhouse.native_port,
        database=clickhouse.database,
        username=clickhouse.username,
        replicated=clickhouse.replicated,
    )


def _peers(traces: config.LangfuseTraces, cluster: Cluster) -> list[Peer]:
    """Databases outside of the namespace."""
    found = [*postgres_peers(traces.database, cluster), *valkey_peers(traces.cache, cluster)]
    clickhouse = traces.clickhouse
    if isinstance(clickhouse, config.ExternalClickHouse):
        found += [
            NetworkPeer(cidr=cidr, port=port)
            for cidr in clickhouse.networks
            for port in (clickhouse.http_port, clickhouse.native_port)
        ]
    return found


def _auth_token(source: config.Secrets, cluster: Cluster, secret: str) -> pulumi.Output[str]:
    """The token of the cache. ElastiCache must be told it, so it is read; it stays a secret."""
    key, account = "services.traces.cache.secret", account_of(cluster)
    if not isinstance(source, config.SecretsManager):
        raise ConfigError(f"{key}: is in Secrets Manager: set secrets.source to secrets-manager")
    name = remote_name(source, secret)
    refuse_missing(account, key, name, ["password"])
    found = aws.secretsmanager.get_secret_version_output(
        secret_id=name, opts=pulumi.InvokeOutputOptions(provider=account.provider)
    )

    def token(version: aws.secretsmanager.GetSecretVersionResult) -> str:
        try:
            return str(json.loads(version.secret_string)["password"])
        except (ValueError, KeyError, TypeError) as error:
            raise pulumi.RunError(
                f"{key}: the secret {name!r} is no JSON object with the key password"
            ) from error

    return pulumi.Output.secret(found.apply(token))
