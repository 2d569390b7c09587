"""Users of MLflow with one experiment each: their passwords, and the job that makes them.

The administrator's login is in the pod of that job and in the server, and in no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import batch, core, meta

from components.pods import (
    CONFIG_DIRECTORY,
    Container,
    Resources,
    SecretKey,
    labels_of,
    metadata,
    pod_spec,
)
from serving.mlflow_users.config import PREFIX, MlflowUser, MlflowUsersConfig, Permission
from serving.tracing.config import SecretSource
from substrates.local.resources import Password

NAME = "mlflow-users"
"""Name label of the pods of these jobs; `components.mlflow` has the policy for them."""
LOGIN_KEYS = ("username", "password")
"""Keys of a Secret with a login."""
_ADMIN = {"MLFLOW_ADMIN_USERNAME": "username", "MLFLOW_ADMIN_PASSWORD": "password"}
_ATTEMPTS_AGAIN = 5
_RUN_LIMIT_S = 900
_RESOURCES = Resources(cpu="50m", memory="256Mi", scratch="64Mi")


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user of MLflow, and where its login is needed."""

    user: str
    """Without the prefix of these users, such as `domain-bank-ledger`."""
    serial: int
    """Of its password."""
    experiment: str
    permission: Permission
    namespace: str
    """Of the pods that log in."""
    secret: str
    """Secret there with `LOGIN_KEYS`."""

    @property
    def username(self) -> str:
        """As MLflow knows it."""
        return f"{PREFIX}{self.user}"


@dataclass(frozen=True, kw_only=True)
class MlflowUsersArgs:
    """Who is to log in, and who administers."""

    provider: kubernetes.Provider
    namespace: str
    """Of MLflow, where the job runs."""
    image: str
    """By digest; with `serving.mlflow_users`."""
    url: str
    admin_secret: str
    """Secret in that namespace with the login of MLflow's administrator."""
    logins: Sequence[Login]


class MlflowUsers(pulumi.ComponentResource):
    """Passwords, the Secrets that hold them, and the job that tells MLflow."""

    ready: pulumi.Resource
    """Once it stands, MLflow lets the users in."""

    def __init__(
        self, name: str, args: MlflowUsersArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component and of the objects beside MLflow.
            args: The users.
            opts: Options of the component; the server must be there before the job.
        """
        super().__init__("pipeline:services:MlflowUsers", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        passwords = {
            login.user: Password(
                f"{name}-{login.user}",
                user=login.username,
                serial=login.serial,
                opts=pulumi.ResourceOptions(parent=self),
            ).password
            for login in args.logins
        }
        for login in args.logins:
            core.v1.Secret(
                f"{name}-{login.user}",
                metadata=metadata(login.secret, login.namespace),
                string_data={"username": login.username, "password": passwords[login.user]},
                opts=child,
            )
        told = core.v1.Secret(
            name,
            metadata=meta.v1.ObjectMetaArgs(
                name=f"{name}-passwords", namespace=args.namespace, labels=labels_of(NAME)
            ),
            string_data={_variable(user): password for user, password in passwords.items()},
            opts=child,
        )
        self.ready = _job(name, args, child, told)
        self.register_outputs({"users": [login.username for login in args.logins]})


def _variable(user: str) -> str:
    return f"PASSWORD_{user.upper().replace('-', '_')}"


def _job(
    name: str, args: MlflowUsersArgs, opts: pulumi.ResourceOptions, told: core.v1.Secret
) -> batch.v1.Job:
    account = core.v1.ServiceAccount(
        name,
        metadata=meta.v1.ObjectMetaArgs(
            name=name, namespace=args.namespace, labels=labels_of(NAME)
        ),
        automount_service_account_token=False,
        opts=opts,
    )
    # Without a name of their own: what is told anew is another ConfigMap, read by another Job.
    unnamed = meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(NAME))
    config = core.v1.ConfigMap(
        name,
        metadata=unnamed,
        immutable=True,
        data={"users.json": _config(args).model_dump_json(indent=2)},
        opts=opts,
    )
    return batch.v1.Job(
        name,
        metadata=unnamed,
        spec=_spec(name, args, config.metadata.name, account.metadata.name),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[told])),
    )


def _config(args: MlflowUsersArgs) -> MlflowUsersConfig:
    username, password = (SecretSource(env=variable) for variable in _ADMIN)
    return MlflowUsersConfig(
        url=args.url,
        admin_username=username,
        admin_password=password,
        users=tuple(
            MlflowUser(
                name=login.username,
                password=SecretSource(env=_variable(login.user)),
                experiment=login.experiment,
                permission=login.permission,
            )
            for login in args.logins
        ),
    )


def _spec(
    name: str, args: MlflowUsersArgs, config: pulumi.Input[str], account: pulumi.Input[str]
) -> batch.v1.JobSpecArgs:
    container = Container(
        name=NAME,
        image=args.image,
        command=(
            *("python", "-m", "serving.mlflow_users"),
            *("--config", f"{CONFIG_DIRECTORY}/users.json"),
        ),
        resources=_RESOURCES,
        config_map=config,
        secrets={
            **{
                variable: SecretKey(secret=args.admin_secret, key=key)
                for variable, key in _ADMIN.items()
            },
            **{
                _variable(login.user): SecretKey(
                    secret=f"{name}-passwords", key=_variable(login.user)
                )
                for login in args.logins
            },
        },
    )
    return batch.v1.JobSpecArgs(
        backoff_limit=_ATTEMPTS_AGAIN,
        active_deadline_seconds=_RUN_LIMIT_S,
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(
                labels=labels_of(NAME),
                # Another password changes no more than this in the Job, and must run it again.
                annotations={
                    f"pipeline/serial-{login.user}": str(login.serial) for login in args.logins
                },
            ),
            spec=pod_spec(container, service_account=account, restart="Never"),
        ),
    )
