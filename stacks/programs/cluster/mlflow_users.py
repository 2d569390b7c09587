"""Who logs in to MLflow beside its administrator, as the environment declares it.

Users of domains are their stacks'. The administrator's login is in the namespace of MLflow alone.
"""

from collections.abc import Sequence

import pulumi

from components.mlflow_users import LOGIN_KEYS, Login, MlflowUsers, MlflowUsersArgs
from components.pods import SecretKey
from serving.mlflow_users.config import Permission
from stacks.config.services import MlflowTraces, ServicesConfig
from stacks.programs.cluster.context import OPERATIONS, SERVING, Cluster


def login_variables(secret: str) -> dict[str, SecretKey]:
    """Environment variables with a login, where MLflow's own client looks."""
    return {
        f"MLFLOW_TRACKING_{key.upper()}": SecretKey(secret=secret, key=key) for key in LOGIN_KEYS
    }


def writer(traces: MlflowTraces) -> Login:
    """The routers."""
    return _login("router", "EDIT", SERVING, traces)


def reader(traces: MlflowTraces) -> Login:
    """The reconciliation."""
    return _login("reconciliation", "READ", OPERATIONS, traces)


def declare_users_of_traces(
    config: ServicesConfig, cluster: Cluster, *, url: str, after: Sequence[pulumi.Resource]
) -> None:
    """Declare who writes and who reads traces, where MLflow has them.

    Args:
        config: Of MLflow and the traces.
        cluster: Where they are.
        url: Of MLflow.
        after: The server, and the Secret of its administrator.
    """
    if isinstance(config.traces, MlflowTraces):
        MlflowUsers(
            "mlflow-traces",
            MlflowUsersArgs(
                provider=cluster.kubernetes,
                namespace=OPERATIONS,
                image=cluster.images.infra,
                url=url,
                admin_secret=config.mlflow.secret,
                logins=(writer(config.traces), reader(config.traces)),
            ),
            pulumi.ResourceOptions(depends_on=list(after)),
        )


def _login(user: str, permission: Permission, namespace: str, traces: MlflowTraces) -> Login:
    return Login(
        user=user,
        serial=traces.password_serial,
        experiment=traces.experiment,
        permission=permission,
        namespace=namespace,
        # Another password is another Secret, so that the routers start anew with it.
        secret=f"mlflow-{user}-{traces.password_serial}",
    )
