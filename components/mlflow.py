"""The MLflow server: runs and artifacts of jobs, and traces where they go there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apps, core, meta, networking, policy

from components.checks import image_by_digest
from components.mlflow_users import NAME as USERS
from components.object_store import ObjectStoreAccess
from components.pods import (
    CONFIG_DIRECTORY,
    NAME_LABEL,
    SCRATCH,
    Peer,
    PodPeer,
    SecretKey,
    container_security,
    labels_of,
    metadata,
    network_policy,
    pod_security,
    secret_variable,
)

NAME = "mlflow"
PORT = 5000
POSTGRES_SERVICE = "mlflow"
"""Section of the service file that says where the database is and how to log in."""
POSTGRES_SERVICE_FILE = "pg_service.conf"
"""Key of the Secret that holds the service file."""
_POSTGRES_DIRECTORY = "/run/secrets/postgres"
_DATA = "/var/lib/mlflow"
_SCRATCH_SIZE = "2Gi"
# The driver reads the service file at each connection, so a password that was rotated needs no
# restart, and no connection string holds one.
_POSTGRES_URI = f"postgresql+psycopg2:///?service={POSTGRES_SERVICE}"


@dataclass(frozen=True, kw_only=True)
class PostgresBackend:
    """Runs and users in Postgres."""

    secret: str
    """Secret with the key `POSTGRES_SERVICE_FILE`."""


@dataclass(frozen=True, kw_only=True)
class VolumeBackend:
    """Runs and users in SQLite on a volume, which one pod can have at a time."""

    size: str
    storage_class: str | None


@dataclass(frozen=True, kw_only=True)
class MlflowArgs:
    """What the server keeps where, and who may reach it."""

    provider: kubernetes.Provider
    namespace: str
    image: str
    """By digest; MLflow with its `auth` extra and the drivers of Postgres and S3."""
    backend: PostgresBackend | VolumeBackend
    artifacts: pulumi.Input[str] | None
    """`s3://…`; None: on the volume."""
    object_store: ObjectStoreAccess
    secret: str
    """Secret with the keys username, password and flask-secret-key."""
    replicas: int
    workers: int
    cpu: str
    memory: str
    hosts: Sequence[str] = ()
    """Names beside those of the Service that requests may ask for."""
    clients: Sequence[PodPeer] = ()
    egress: Sequence[Peer] = ()
    """The database; object storage is added."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings that switch reports to its makers off."""

    def __post_init__(self) -> None:
        image_by_digest(self.image, NAME)
        on_volume = isinstance(self.backend, VolumeBackend)
        if on_volume and self.replicas > 1:
            raise ValueError(f"{NAME}: {self.replicas} replicas share no volume: use Postgres")
        if not on_volume and self.artifacts is None:
            raise ValueError(f"{NAME}: artifacts need object storage where there is no volume")


class Mlflow(pulumi.ComponentResource):
    """Deployment with what it needs: Service, configuration, account, policies, budget, volume."""

    url: str
    """Inside the cluster."""

    def __init__(
        self, name: str, args: MlflowArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The server.
            opts: Options of the component; what must stand before the first pod (its secrets, the
                role of its account) belongs into `depends_on`.
        """
        super().__init__("pipeline:services:Mlflow", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.url = f"http://{NAME}.{args.namespace}.svc:{PORT}"
        account = core.v1.ServiceAccount(
            name,
            metadata=metadata(NAME, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        config = core.v1.ConfigMap(
            name,
            metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(NAME)),
            immutable=True,
            data={"auth.ini": _auth_config(args.backend)},
            opts=child,
        )
        before: list[pulumi.Resource] = [_policy(name, args, child)]
        _policy_of_users(name, args, child)
        if isinstance(args.backend, VolumeBackend):
            before.append(_volume(name, args, args.backend, child))
        core.v1.Service(
            name,
            metadata=metadata(NAME, args.namespace),
            spec=core.v1.ServiceSpecArgs(
                selector={NAME_LABEL: NAME},
                ports=[core.v1.ServicePortArgs(name="http", port=PORT, target_port="http")],
            ),
            opts=child,
        )
        if args.replicas > 1:
            _budget(name, args, child)
        apps.v1.Deployment(
            name,
            metadata=metadata(NAME, args.namespace),
            spec=_deployment(args, config.metadata.name, account.metadata.name),
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=before)),
        )
        self.register_outputs({"url": self.url})


def _database_uri(backend: PostgresBackend | VolumeBackend) -> str:
    return _POSTGRES_URI if isinstance(backend, PostgresBackend) else f"sqlite:///{_DATA}/mlflow.db"


def _auth_config(backend: PostgresBackend | VolumeBackend) -> str:
    # On Postgres the users' tables lie beside those of runs, with a version table of their own.
    users = _POSTGRES_URI if isinstance(backend, PostgresBackend) else f"sqlite:///{_DATA}/users.db"
    return f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {users}\n"


def _policy(
    name: str, args: MlflowArgs, opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    return networking.v1.NetworkPolicy(
        name,
        metadata=metadata(NAME, args.namespace),
        spec=network_policy(
            NAME, egress=[*args.egress, *args.object_store.peers], ingress=args.clients
        ),
        opts=opts,
    )


def _policy_of_users(name: str, args: MlflowArgs, opts: pulumi.ResourceOptions) -> None:
    """Jobs that make users, which hold the administrator's login, reach the server alone."""
    server = PodPeer(namespace=args.namespace, labels={NAME_LABEL: NAME}, port=PORT)
    networking.v1.NetworkPolicy(
        f"{name}-users",
        metadata=metadata(USERS, args.namespace),
        spec=network_policy(USERS, egress=[server]),
        opts=opts,
    )


def _volume(
    name: str, args: MlflowArgs, backend: VolumeBackend, opts: pulumi.ResourceOptions
) -> core.v1.PersistentVolumeClaim:
    return core.v1.PersistentVolumeClaim(
        name,
        metadata=meta.v1.ObjectMetaArgs(
            name=NAME,
            namespace=args.namespace,
            labels=labels_of(NAME),
            # Many classes bind a volume only when its first pod is scheduled.
            annotations={"pulumi.com/skipAwait": "true"},
        ),
        spec=core.v1.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            storage_class_name=backend.storage_class,
            resources=core.v1.VolumeResourceRequirementsArgs(requests={"storage": backend.size}),
        ),
        opts=opts,
    )


def _budget(name: str, args: MlflowArgs, opts: pulumi.ResourceOptions) -> None:
    policy.v1.PodDisruptionBudget(
        name,
        metadata=metadata(NAME, args.namespace),
        spec=policy.v1.PodDisruptionBudgetSpecArgs(
            max_unavailable=1,
            selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: NAME}),
        ),
        opts=opts,
    )


def _deployment(
    args: MlflowArgs, config_map: pulumi.Input[str], service_account: pulumi.Input[str]
) -> apps.v1.DeploymentSpecArgs:
    on_volume = isinstance(args.backend, VolumeBackend)
    return apps.v1.DeploymentSpecArgs(
        replicas=args.replicas,
        # A volume is one pod's at a time.
        strategy=apps.v1.DeploymentStrategyArgs(type="Recreate" if on_volume else "RollingUpdate"),
        selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: NAME}),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels_of(NAME)),
            spec=core.v1.PodSpecArgs(
                service_account_name=service_account,
                automount_service_account_token=False,
                enable_service_links=False,
                security_context=pod_security(),
                topology_spread_constraints=[_spread()],
                init_containers=[_upgrade(args)],
                containers=[_server(args)],
                volumes=_volumes(args, config_map),
            ),
        ),
    )


def _spread() -> core.v1.TopologySpreadConstraintArgs:
    return core.v1.TopologySpreadConstraintArgs(
        max_skew=1,
        topology_key="topology.kubernetes.io/zone",
        when_unsatisfiable="ScheduleAnyway",
        label_selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: NAME}),
    )


def _upgrade(args: MlflowArgs) -> core.v1.ContainerArgs:
    """Bring the tables to this version. Of two pods that begin at once, one does it again."""
    return core.v1.ContainerArgs(
        name="database",
        image=args.image,
        command=["mlflow", "db", "upgrade", _database_uri(args.backend)],
        env=_environment(args),
        resources=_resources(args),
        security_context=container_security(),
        volume_mounts=_mounts(args),
    )


def _server(args: MlflowArgs) -> core.v1.ContainerArgs:
    return core.v1.ContainerArgs(
        name=NAME,
        image=args.image,
        command=_command(args),
        env=[
            *_environment(args),
            secret_variable(
                "MLFLOW_AUTH_ADMIN_USERNAME", SecretKey(secret=args.secret, key="username")
            ),
            secret_variable(
                "MLFLOW_AUTH_ADMIN_PASSWORD", SecretKey(secret=args.secret, key="password")
            ),
            secret_variable(
                "MLFLOW_FLASK_SERVER_SECRET_KEY",
                SecretKey(secret=args.secret, key="flask-secret-key"),
            ),
        ],
        ports=[core.v1.ContainerPortArgs(name="http", container_port=PORT)],
        startup_probe=_probe(period_s=5, failures=60),
        readiness_probe=_probe(period_s=10, failures=3),
        liveness_probe=_probe(period_s=20, failures=6),
        resources=_resources(args),
        security_context=container_security(),
        volume_mounts=_mounts(args),
    )


def _probe(*, period_s: int, failures: int) -> core.v1.ProbeArgs:
    # MLflow answers /health whatever the Host header says, and without a password.
    return core.v1.ProbeArgs(
        http_get=core.v1.HTTPGetActionArgs(path="/health", port="http"),
        period_seconds=period_s,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def _command(args: MlflowArgs) -> list[pulumi.Input[str]]:
    return [
        "mlflow",
        "server",
        "--backend-store-uri",
        _database_uri(args.backend),
        "--artifacts-destination",
        f"{_DATA}/artifacts" if args.artifacts is None else args.artifacts,
        "--serve-artifacts",
        "--host",
        "0.0.0.0",  # noqa: S104  the pod's address; its NetworkPolicy says who reaches it
        "--port",
        str(PORT),
        "--workers",
        str(args.workers),
        "--app-name",
        "basic-auth",
    ]


def _environment(args: MlflowArgs) -> list[core.v1.EnvVarArgs]:
    plain = {
        **args.environment,
        **args.object_store.environment,
        "HOME": SCRATCH,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_allowed_hosts(args)),
        "MLFLOW_AUTH_CONFIG_PATH": f"{CONFIG_DIRECTORY}/auth.ini",
        # Nothing here uses MLflow's own job queue, and its workers are eight processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if isinstance(args.backend, PostgresBackend):
        plain["PGSERVICEFILE"] = f"{_POSTGRES_DIRECTORY}/{POSTGRES_SERVICE_FILE}"
    return [
        *(core.v1.EnvVarArgs(name=name, value=value) for name, value in plain.items()),
        *(secret_variable(name, key) for name, key in args.object_store.secrets.items()),
    ]


def _allowed_hosts(args: MlflowArgs) -> list[str]:
    """Host headers as clients send them: with the port where it is not that of the scheme."""
    service = [NAME, *(f"{NAME}.{args.namespace}{end}" for end in ("", ".svc", _CLUSTER_DOMAIN))]
    local = [f"localhost:{PORT}", f"127.0.0.1:{PORT}"]
    return [*service, *(f"{host}:{PORT}" for host in service), *local, *args.hosts]


_CLUSTER_DOMAIN = ".svc.cluster.local"


def _resources(args: MlflowArgs) -> core.v1.ResourceRequirementsArgs:
    held = {"memory": args.memory, "ephemeral-storage": _SCRATCH_SIZE}
    return core.v1.ResourceRequirementsArgs(requests={"cpu": args.cpu, **held}, limits=held)


def _mounts(args: MlflowArgs) -> list[core.v1.VolumeMountArgs]:
    mounts = [
        core.v1.VolumeMountArgs(name="config", mount_path=CONFIG_DIRECTORY, read_only=True),
        core.v1.VolumeMountArgs(name="scratch", mount_path=SCRATCH),
    ]
    if isinstance(args.backend, PostgresBackend):
        mounts.append(
            core.v1.VolumeMountArgs(name="postgres", mount_path=_POSTGRES_DIRECTORY, read_only=True)
        )
    else:
        mounts.append(core.v1.VolumeMountArgs(name="data", mount_path=_DATA))
    return mounts


def _volumes(args: MlflowArgs, config_map: pulumi.Input[str]) -> list[core.v1.VolumeArgs]:
    volumes = [
        core.v1.VolumeArgs(
            name="config", config_map=core.v1.ConfigMapVolumeSourceArgs(name=config_map)
        ),
        core.v1.VolumeArgs(
            name="scratch", empty_dir=core.v1.EmptyDirVolumeSourceArgs(size_limit=_SCRATCH_SIZE)
        ),
    ]
    if isinstance(args.backend, PostgresBackend):
        source = core.v1.SecretVolumeSourceArgs(
            secret_name=args.backend.secret,
            items=[core.v1.KeyToPathArgs(key=POSTGRES_SERVICE_FILE, path=POSTGRES_SERVICE_FILE)],
        )
        volumes.append(core.v1.VolumeArgs(name="postgres", secret=source))
    else:
        claim = core.v1.PersistentVolumeClaimVolumeSourceArgs(claim_name=NAME)
        volumes.append(core.v1.VolumeArgs(name="data", persistent_volume_claim=claim))
    return volumes
