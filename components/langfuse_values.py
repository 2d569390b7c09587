"""Values of the chart langfuse 2.0.0, so that it makes no secret, no database and no bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from components.object_store import ACCESS_KEY_ID, SECRET_ACCESS_KEY, ObjectStoreAccess
from components.pods import SecretKey

RELEASE: Final = "langfuse"
"""Also begins the names of what the chart makes."""
SERVICE_ACCOUNT: Final = RELEASE
WEB_PORT: Final = 3000
_USER: Final = 1001
"""Of Langfuse's images."""
_RESOURCES: Final = {
    "requests": {"cpu": "1", "memory": "4Gi"},
    "limits": {"memory": "4Gi"},
}


@dataclass(frozen=True, kw_only=True)
class PostgresLogin:
    """A database that Langfuse owns."""

    host: pulumi.Input[str]
    port: int
    database: str
    username: str
    password: SecretKey


@dataclass(frozen=True, kw_only=True)
class ValkeyLogin:
    """Where queues are."""

    host: pulumi.Input[str]
    port: int
    tls: bool
    password: SecretKey


@dataclass(frozen=True, kw_only=True)
class OperatedClickHouse:
    """ClickHouse in the cluster, which the ClickHouse operator makes from the chart's objects."""

    replicas: int
    keepers: int
    storage: str
    storage_class: str | None
    cpu: str
    memory: str


@dataclass(frozen=True, kw_only=True)
class ClickHouseLogin:
    """A ClickHouse that exists."""

    host: str
    tls: bool
    http_port: int
    native_port: int
    database: str
    username: str
    replicated: bool


@dataclass(frozen=True, kw_only=True)
class LangfuseSettings:
    """Everything that the chart is told."""

    version: str
    """Of Langfuse, in the images' tags."""
    web_image: str
    """By digest."""
    worker_image: str
    """By digest."""
    url: str
    """Where browsers open it."""
    secret: str
    """Secret with the keys of `KEYS`."""
    user_email: str
    retention_days: int | None
    web_replicas: int
    worker_replicas: int
    postgres: PostgresLogin
    valkey: ValkeyLogin
    clickhouse: OperatedClickHouse | ClickHouseLogin
    bucket: str
    folder: str
    """In the bucket: empty, or with a slash at its end."""
    region: str
    object_store: ObjectStoreAccess
    """`environment` may name the endpoint of the store, as AWS_ENDPOINT_URL_S3."""
    environment: Mapping[str, str]
    """Settings that switch reports to its makers off."""


KEYS: Final = (
    "salt",
    "encryption-key",
    "nextauth-secret",
    "user-password",
    "project-public-key",
    "project-secret-key",
    "clickhouse-password",
)
"""Keys of Langfuse's own Secret."""


def values(settings: LangfuseSettings) -> dict[str, Any]:
    """Render the chart's values."""
    return {
        "langfuse": _langfuse(settings),
        "postgresql": _postgres(settings.postgres),
        "redis": _valkey(settings.valkey),
        "clickhouse": _clickhouse(settings.clickhouse, settings.secret),
        "s3": _object_store(settings),
    }


def _langfuse(settings: LangfuseSettings) -> dict[str, Any]:
    return {
        "salt": _key(settings.secret, "salt"),
        "encryptionKey": _key(settings.secret, "encryption-key"),
        "nextauth": {"url": settings.url, "secret": _key(settings.secret, "nextauth-secret")},
        "features": {"telemetryEnabled": False, "signUpDisabled": True},
        "serviceAccount": {
            "create": True,
            "name": SERVICE_ACCOUNT,
            # Roles come through EKS Pod Identity, which mounts a token of its own.
            "automountServiceAccountToken": False,
        },
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "image": {"pullPolicy": "IfNotPresent"},
        "additionalEnv": [
            {"name": name, "value": value}
            for name, value in {**settings.environment, "NEXT_TELEMETRY_DISABLED": "1"}.items()
        ],
        "web": {
            "image": _image(settings.web_image, settings.version),
            "replicas": settings.web_replicas,
            "resources": _RESOURCES,
            "pod": {"additionalEnv": _first_start(settings)},
        },
        "worker": {
            "image": _image(settings.worker_image, settings.version),
            "replicas": settings.worker_replicas,
            "resources": _RESOURCES,
        },
    }


def _image(image: str, version: str) -> dict[str, str]:
    """The chart joins both with a colon; a digest after a tag decides."""
    repository, _, digest = image.partition("@")
    return {"repository": repository, "tag": f"{version}@{digest}"}


def _first_start(settings: LangfuseSettings) -> list[dict[str, Any]]:
    """Organisation, project and user that the first start makes, so that nobody has to click."""
    plain = {
        "ORG_ID": "platform",
        "ORG_NAME": "Platform",
        "PROJECT_ID": "inference",
        "PROJECT_NAME": "Inference",
        "USER_EMAIL": settings.user_email,
        "USER_NAME": "Platform",
    }
    if settings.retention_days is not None:
        plain["PROJECT_RETENTION"] = str(settings.retention_days)
    secret = {
        "PROJECT_PUBLIC_KEY": "project-public-key",
        "PROJECT_SECRET_KEY": "project-secret-key",
        "USER_PASSWORD": "user-password",
    }
    return [
        *({"name": f"LANGFUSE_INIT_{name}", "value": value} for name, value in plain.items()),
        *(
            {"name": f"LANGFUSE_INIT_{name}", "valueFrom": _key(settings.secret, key)}
            for name, key in secret.items()
        ),
    ]


def _postgres(login: PostgresLogin) -> dict[str, Any]:
    return {
        "deploy": False,
        "host": login.host,
        "port": login.port,
        "args": "sslmode=require",
        "auth": {
            "username": login.username,
            "database": login.database,
            "existingSecret": login.password.secret,
            "secretKeys": {"userPasswordKey": login.password.key},
        },
    }


def _valkey(login: ValkeyLogin) -> dict[str, Any]:
    return {
        "deploy": False,
        "host": login.host,
        "port": login.port,
        "tls": {"enabled": login.tls},
        "auth": {
            # A token of ElastiCache belongs to no user.
            "username": "",
            "existingSecret": login.password.secret,
            "existingSecretPasswordKey": login.password.key,
        },
    }


def _clickhouse(clickhouse: OperatedClickHouse | ClickHouseLogin, secret: str) -> dict[str, Any]:
    password = {"existingSecret": secret, "existingSecretKey": "clickhouse-password"}
    if isinstance(clickhouse, ClickHouseLogin):
        scheme = "https" if clickhouse.tls else "http"
        return {
            "deploy": False,
            "host": f"{scheme}://{clickhouse.host}",
            "httpPort": clickhouse.http_port,
            "nativePort": clickhouse.native_port,
            "database": clickhouse.database,
            "auth": {"username": clickhouse.username, **password},
            "migration": {"ssl": clickhouse.tls},
            "cluster": {"enabled": clickhouse.replicated},
        }
    storage_class = clickhouse.storage_class or ""
    return {
        "deploy": True,
        # The operator gives a password to this user alone.
        "auth": {"username": "default", **password},
        "cluster": {
            "replicas": clickhouse.replicas,
            "storage": {"size": clickhouse.storage, "className": storage_class},
            "resources": {
                "requests": {"cpu": clickhouse.cpu, "memory": clickhouse.memory},
                "limits": {"memory": clickhouse.memory},
            },
        },
        "keeper": {
            "replicas": clickhouse.keepers,
            "storage": {"className": storage_class},
        },
    }


def _object_store(settings: LangfuseSettings) -> dict[str, Any]:
    access = settings.object_store
    endpoint = access.environment.get("AWS_ENDPOINT_URL_S3", "")
    names = {"accessKeyId": ACCESS_KEY_ID, "secretAccessKey": SECRET_ACCESS_KEY}
    return {
        "deploy": False,
        "storageProvider": "s3",
        "bucket": settings.bucket,
        "region": settings.region,
        "endpoint": endpoint,
        "forcePathStyle": bool(endpoint),
        **{
            value: _key(access.secrets[name].secret, access.secrets[name].key)
            for value, name in names.items()
            if name in access.secrets
        },
        "eventUpload": {"prefix": f"{settings.folder}events/"},
        "batchExport": {"prefix": f"{settings.folder}exports/"},
        "mediaUpload": {"prefix": f"{settings.folder}media/"},
    }


def _key(secret: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": key}}
