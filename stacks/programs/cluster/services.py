"""MLflow, what receives traces, and what both keep their data in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi

from components.external_secrets import RemoteSecret
from components.langfuse_values import SERVICE_ACCOUNT
from components.mlflow import (
    NAME,
    PORT,
    POSTGRES_SERVICE,
    POSTGRES_SERVICE_FILE,
    Mlflow,
    MlflowArgs,
    PostgresBackend,
    VolumeBackend,
)
from components.pods import NAME_LABEL, PodPeer
from components.postgres import Postgres
from stacks.config.services import LangfuseTraces, RdsPostgres, ServicesConfig, SqliteVolume
from stacks.programs.cluster import langfuse
from stacks.programs.cluster.context import (
    LANGFUSE,
    OPERATIONS,
    SERVING,
    TRAINING,
    Cluster,
    Workload,
)
from stacks.programs.cluster.langfuse import Charts
from stacks.programs.cluster.mlflow_users import declare_users_of_traces
from stacks.programs.cluster.secrets import Ready, SecretNeed, declare_secrets
from stacks.programs.cluster.stores import ServiceStores, postgres_of, postgres_peers
from stacks.programs.cluster.traces import TraceReceiver, receiver_of
from stacks.telemetry import NO_TELEMETRY

Bind = Callable[[Workload, str, str], Sequence[pulumi.Resource]]
"""Gives pods the role of a workload: by workload, namespace and name of their ServiceAccount.

What it returns must stand before the first pod: credentials come at its admission, or never.
"""

RDS_CERTIFICATES: Final = Path("/etc/ssl/rds/global-bundle.pem")
"""Where images/mlflow.Dockerfile puts the certificates that RDS's are signed with."""
_LOGIN: Final = ("username", "password")
_KEY: Final = "services.mlflow.secret"
_POSTGRES_SECRET: Final = "mlflow-postgres"  # noqa: S105  its name


@dataclass(frozen=True, kw_only=True)
class Services:
    """What others need of the services."""

    mlflow_url: str
    mlflow_peer: PodPeer
    traces: TraceReceiver
    ready: Ready
    """Secrets by namespace and name: what must stand before their readers."""


def declare_services(
    config: ServicesConfig,
    cluster: Cluster,
    stores: ServiceStores,
    *,
    bind: Bind,
    charts: Charts,
    after: Sequence[pulumi.Resource],
) -> Services:
    """Declare MLflow and what receives traces.

    Args:
        config: Of both.
        cluster: Where they run.
        stores: Where artifacts and events are kept.
        bind: Gives pods their roles.
        charts: What the lock file of charts pins.
        after: What must stand before any object in a namespace: the namespaces, and operators.

    Raises:
        ConfigError: A secret is missing, or a managed database is asked for outside of AWS.
    """
    managed = [
        postgres_of(database, cluster, stores, NAME)
        for database in [config.mlflow.database]
        if isinstance(database, RdsPostgres)
    ]
    traced = langfuse.declare_databases(config, cluster, stores)
    ready = declare_secrets(
        config.secrets,
        cluster,
        [*_needs(config), *langfuse.needs(config)],
        made=[*map(_service_file, managed), *(traced.made if traced else ())],
        after=after,
    )
    before = (*after, *ready.values())
    server = _declare_mlflow(config, cluster, stores, (*before, *bind("mlflow", OPERATIONS, NAME)))
    declare_users_of_traces(config, cluster, url=mlflow_url(), after=(*before, server))
    if traced is not None and isinstance(config.traces, LangfuseTraces):
        roles = bind("langfuse", LANGFUSE, SERVICE_ACCOUNT)
        langfuse.declare_langfuse(config.traces, cluster, stores, traced, charts, (*before, *roles))
    return Services(
        mlflow_url=mlflow_url(),
        mlflow_peer=_peer(),
        traces=receiver_of(
            config,
            cluster.environment,
            mlflow_url=mlflow_url(),
            mlflow=_peer(),
        ),
        ready=ready,
    )


def mlflow_url() -> str:
    """MLflow inside the cluster."""
    return f"http://{NAME}.{OPERATIONS}.svc:{PORT}"


def _peer() -> PodPeer:
    return PodPeer(namespace=OPERATIONS, labels={NAME_LABEL: NAME}, port=PORT)


def _needs(config: ServicesConfig) -> list[SecretNeed]:
    """The server's own Secrets. Nobody else has the login of its administrator."""
    needs = [
        SecretNeed(
            key=_KEY,
            namespace=OPERATIONS,
            secret=config.mlflow.secret,
            properties=(*_LOGIN, "flask-secret-key"),
        )
    ]
    if config.mlflow.database.kind == "external":
        needs.append(
            SecretNeed(
                key="services.mlflow.database",
                namespace=OPERATIONS,
                secret=_POSTGRES_SECRET,
                properties=(POSTGRES_SERVICE_FILE,),
            )
        )
    return needs


def _service_file(database: Postgres) -> RemoteSecret:
    """How to reach the database and log in, in the form that its driver reads."""
    lines = pulumi.Output.concat(
        f"[{POSTGRES_SERVICE}]\nhost=",
        database.host,
        f"\ndbname={NAME}\nuser={{{{ .username }}}}\npassword={{{{ .password }}}}\n"
        f"sslmode=verify-full\nsslrootcert={RDS_CERTIFICATES}\n",
    )
    return RemoteSecret(
        namespace=OPERATIONS,
        secret=_POSTGRES_SECRET,
        remote=database.secret_arn,
        properties=_LOGIN,
        template={POSTGRES_SERVICE_FILE: lines},
    )


def _declare_mlflow(
    config: ServicesConfig,
    cluster: Cluster,
    stores: ServiceStores,
    after: Sequence[pulumi.Resource],
) -> Mlflow:
    mlflow, database = config.mlflow, config.mlflow.database
    return Mlflow(
        f"{cluster.environment}-mlflow",
        MlflowArgs(
            provider=cluster.kubernetes,
            namespace=OPERATIONS,
            image=cluster.images.mlflow,
            backend=VolumeBackend(
                size=f"{database.size_gib}Gi", storage_class=database.storage_class
            )
            if isinstance(database, SqliteVolume)
            else PostgresBackend(secret=_POSTGRES_SECRET),
            artifacts=stores.mlflow_artifacts,
            object_store=cluster.object_store,
            secret=mlflow.secret,
            replicas=mlflow.replicas,
            workers=mlflow.workers,
            cpu=mlflow.cpu,
            memory=mlflow.memory,
            hosts=mlflow.hosts,
            # Pods of the pipeline alone run in these; a password says who they are.
            clients=[
                PodPeer(namespace=namespace, labels={}, port=PORT)
                for namespace in (SERVING, OPERATIONS, TRAINING)
            ],
            egress=() if isinstance(database, SqliteVolume) else postgres_peers(database, cluster),
            environment=NO_TELEMETRY,
        ),
        pulumi.ResourceOptions(depends_on=list(after)),
    )
