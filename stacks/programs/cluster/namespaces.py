"""The namespaces of an environment on Kubernetes."""

from typing import Final

from components.namespaces import Namespaces, NamespacesArgs, PodSecurity
from stacks.config.services import ServicesConfig
from stacks.programs.cluster.context import LANGFUSE, OPERATIONS, SERVING, TRAINING, Cluster

_STANDARDS: Final[dict[str, PodSecurity]] = {
    SERVING: "restricted",
    OPERATIONS: "restricted",
    TRAINING: "restricted",
    # The pods of ClickHouse are its operator's, which says nothing about `restricted`.
    LANGFUSE: "baseline",
}


def declare_namespaces(config: ServicesConfig, cluster: Cluster) -> Namespaces:
    """Declare those that the environment uses.

    Where Secrets are somebody else's, so are the namespaces: the Secrets must be in them before
    the first `up`. They are given their labels and policies, and are not made or deleted.
    """
    used = {
        name: standard
        for name, standard in _STANDARDS.items()
        if name != LANGFUSE or config.traces.target == "langfuse"
    }
    return Namespaces(
        f"{cluster.environment}-namespaces",
        NamespacesArgs(
            provider=cluster.kubernetes,
            pod_security=used,
            exist=config.secrets.source == "existing",
        ),
    )
