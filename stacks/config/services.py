"""Configuration of MLflow, Langfuse and what they keep their data in."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.checks import private_network
from stacks.config.base import Config, Port
from stacks.config.images import ImageRef

SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A Secret in the cluster; in Secrets Manager its name follows the prefix and a slash."""
HostName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)
]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9a-f.:]+/\d{1,3}$")]
_Quantity = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*(Mi|Gi)$")]
_Cpu = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*m?$")]
_HTTPS = r"^https://[^/\s]+(/[^\s]*[^\s/])?$"


class SecretsManager(Config):
    """Secrets of AWS Secrets Manager, brought into the cluster by External Secrets."""

    source: Literal["secrets-manager"]
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9/-]{0,60}[a-z0-9])?$")] = (
        Field(description="the secret `mlflow` is named `<prefix>/mlflow`, such as pipeline/prod")
    )
    refresh_minutes: int = Field(
        15, ge=1, le=1440, description="how often External Secrets reads them again"
    )


class ExistingSecrets(Config):
    """Secrets that somebody else puts into the cluster's namespaces before the first `up`."""

    source: Literal["existing"]


Secrets = Annotated[SecretsManager | ExistingSecrets, Field(discriminator="source")]


class RdsPostgres(Config):
    """A Postgres of its own on RDS; RDS makes, keeps and rotates the password."""

    kind: Literal["rds"]
    engine_version: Annotated[str, StringConstraints(pattern=r"^1[5-8](\.\d+)?$")] = Field(
        "16", description="major version, or one minor version of it"
    )
    instance_class: Annotated[str, StringConstraints(pattern=r"^db\.[a-z0-9]+\.[a-z0-9]+$")] = (
        Field("db.t4g.medium", description="size of the instance")
    )
    storage_gib: int = Field(20, ge=20, le=65536, description="storage to begin with, GiB")
    max_storage_gib: int = Field(200, ge=20, le=65536, description="grows up to this by itself")
    multi_az: bool = Field(default=True, description="a standby in another zone")
    deletion_protection: bool = Field(default=True, description="AWS refuses to delete it")
    backup_days: int = Field(14, ge=1, le=35, description="how long backups are kept")
    performance_insights: bool = Field(default=False, description="seven days of query statistics")
    password_rotation_days: int = Field(
        30, ge=1, le=1000, description="how often RDS changes the password"
    )

    @model_validator(mode="after")
    def _storage_may_grow(self) -> Self:
        # RDS takes an upper bound only when it is at least a tenth above the storage.
        least = self.storage_gib + -(-self.storage_gib // 10)
        if self.max_storage_gib < least:
            raise ValueError(
                f"max_storage_gib {self.max_storage_gib} must be at least {least}: "
                f"a tenth more than storage_gib {self.storage_gib}"
            )
        return self


class Reachable(Config):
    """Where a server outside of this program is."""

    host: HostName = Field(description="name or address of the server")
    networks: tuple[Network, ...] = Field(
        min_length=1, description="its addresses in CIDR form, for NetworkPolicies"
    )

    @model_validator(mode="after")
    def _networks_are_private(self) -> Self:
        for each in self.networks:
            private_network(each, "networks")
        return self


class ExternalPostgres(Reachable):
    """A Postgres that exists; the Secret of its service says how to log in."""

    kind: Literal["external"]
    port: Port = Field(5432, description="port of the server")
    database: str = Field(min_length=1, description="an empty database, or one of this service")
    username: str = Field(min_length=1, description="owner of that database")


class SqliteVolume(Config):
    """SQLite on a volume: for one replica, on small and test clusters."""

    kind: Literal["sqlite"]
    size_gib: int = Field(10, ge=1, le=1024, description="size of the volume, GiB")
    storage_class: str | None = Field(None, description="None: the cluster's default")


class MlflowConfig(Config):
    """The MLflow server: runs, artifacts, and traces where they go there."""

    database: Annotated[
        RdsPostgres | ExternalPostgres | SqliteVolume, Field(discriminator="kind")
    ] = Field(description="where runs and users are kept")
    secret: SecretName = Field(
        "mlflow",
        description="keys username, password, flask-secret-key (and pg_service.conf with an "
        "external database)",
    )
    replicas: int = Field(1, ge=1, le=8, description="pods")
    workers: int = Field(2, ge=1, le=16, description="server processes in each pod")
    cpu: _Cpu = Field("500m", description="CPU of each pod")
    memory: _Quantity = Field("2Gi", description="memory of each pod, request and limit")
    hosts: tuple[HostName, ...] = Field(
        (), description="further names that people reach it under, such as that of an ingress"
    )

    @model_validator(mode="after")
    def _sqlite_has_one_writer(self) -> Self:
        if self.database.kind == "sqlite" and self.replicas > 1:
            raise ValueError(
                f"replicas {self.replicas}: SQLite on a volume allows 1; use a database of kind "
                "rds or external for more"
            )
        return self


class ElastiCacheValkey(Config):
    """Valkey on ElastiCache, with TLS and a token."""

    kind: Literal["elasticache"]
    node_type: Annotated[str, StringConstraints(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$")] = Field(
        "cache.t4g.small", description="size of each node"
    )
    engine_version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")] = Field(
        "8.0", description="version of Valkey"
    )
    replicas: int = Field(1, ge=0, le=5, description="in other zones, one of them takes over")
    snapshot_days: int = Field(3, ge=0, le=35, description="how long snapshots are kept")
    secret: SecretName = Field("langfuse-valkey", description="key password: 16 to 128 characters")


class ExternalValkey(Reachable):
    """A Valkey or Redis that exists, with maxmemory-policy noeviction."""

    kind: Literal["external"]
    port: Port = Field(6379, description="port of the server")
    tls: bool = Field(default=True, description="whether it speaks TLS")


class ClickHouseOperator(Config):
    """ClickHouse and its Keeper in the cluster, by the ClickHouse operator."""

    kind: Literal["operator"]
    operator: Literal["install", "present"] = Field(
        "install", description="whether the cluster has the ClickHouse operator already"
    )
    cert_manager: Literal["install", "present"] = Field(
        "install", description="whether the cluster has cert-manager, which the operator needs"
    )
    replicas: int = Field(2, ge=1, le=8, description="pods with all data")
    keepers: Literal[1, 3, 5] = Field(3, description="pods that agree on who has what")
    storage_gib: int = Field(100, ge=10, le=16384, description="volume of each replica, GiB")
    storage_class: str | None = Field(None, description="None: the cluster's default")
    cpu: _Cpu = Field("1", description="CPU of each replica")
    memory: _Quantity = Field("4Gi", description="memory of each replica, request and limit")


class ExternalClickHouse(Reachable):
    """A ClickHouse that exists."""

    kind: Literal["external"]
    http_port: Port = Field(8123, description="its HTTP interface")
    native_port: Port = Field(9000, description="its native interface, for migrations")
    database: str = Field("default", min_length=1, description="of Langfuse alone")
    username: str = Field("default", min_length=1, description="owner of that database")
    replicated: bool = Field(default=False, description="whether it is a cluster named `default`")
    tls: bool = Field(default=True, description="whether it speaks TLS")


class LangfuseTraces(Config):
    """Traces in a Langfuse of the environment's own."""

    target: Literal["langfuse"]
    url: Annotated[str, StringConstraints(pattern=_HTTPS)] | None = Field(
        None, description="where people open it; None: by port-forward only"
    )
    web_image: ImageRef = Field(description="Langfuse 4.4.0, web")
    worker_image: ImageRef = Field(description="Langfuse 4.4.0, worker")
    secret: SecretName = Field(
        "langfuse",
        description="keys salt, encryption-key (64 hex digits), nextauth-secret, user-password, "
        "project-public-key, project-secret-key, clickhouse-password (and postgres-password, "
        "valkey-password with external ones)",
    )
    user_email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")] = Field(
        description="the first user, who invites the others"
    )
    database: Annotated[RdsPostgres | ExternalPostgres, Field(discriminator="kind")] = Field(
        description="users, projects, prompts"
    )
    cache: Annotated[ElastiCacheValkey | ExternalValkey, Field(discriminator="kind")] = Field(
        description="queues of what is to be written"
    )
    clickhouse: Annotated[ClickHouseOperator | ExternalClickHouse, Field(discriminator="kind")] = (
        Field(description="traces and scores")
    )
    web_replicas: int = Field(2, ge=1, le=16, description="pods that receive and show")
    worker_replicas: int = Field(2, ge=1, le=32, description="pods that write")
    retention_days: int | None = Field(
        None, ge=3, description="how long traces are kept; None: for ever"
    )


class MlflowTraces(Config):
    """Traces in the environment's MLflow."""

    target: Literal["mlflow"]
    experiment: str = Field("inference", min_length=1, description="of the traces")
    password_serial: int = Field(
        1, ge=1, description="passwords of who writes and reads traces; raise it to rotate them"
    )


class OtlpTraces(Config):
    """Traces to any other receiver of OTLP over HTTP; nothing is reconciled with it."""

    target: Literal["otlp"]
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s@]+/[^\s]+$")] = Field(
        description="full URL, such as http://collector.observability.svc:4318/v1/traces"
    )
    networks: tuple[Network, ...] = Field(
        min_length=1, description="its addresses in CIDR form, for NetworkPolicies"
    )


Traces = Annotated[MlflowTraces | LangfuseTraces | OtlpTraces, Field(discriminator="target")]


class ServicesConfig(Config):
    """MLflow, the receiver of traces, and where their secrets come from."""

    secrets: Secrets = Field(description="where secrets come from")
    mlflow: MlflowConfig = Field(description="runs of jobs")
    traces: Traces = Field(description="where the router's traces go")

    @property
    def managed(self) -> tuple[str, ...]:
        """Keys that only an AWS account can fulfil: refused on a cluster that exists."""
        found = {
            "secrets.source": self.secrets.source == "secrets-manager",
            "mlflow.database.kind": self.mlflow.database.kind == "rds",
        }
        if isinstance(self.traces, LangfuseTraces):
            found["traces.database.kind"] = self.traces.database.kind == "rds"
            found["traces.cache.kind"] = self.traces.cache.kind == "elasticache"
        return tuple(key for key, is_managed in found.items() if is_managed)

    @model_validator(mode="after")
    def _managed_passwords_need_external_secrets(self) -> Self:
        others = [key for key in self.managed if key != "secrets.source"]
        if others and self.secrets.source == "existing":
            raise ValueError(
                f"{others[0]}: its password is in Secrets Manager, and secrets.source is existing: "
                "set secrets.source to secrets-manager"
            )
        return self
