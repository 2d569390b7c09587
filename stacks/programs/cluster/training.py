"""The namespace of jobs: what those of each kind may reach. The jobs are the domain stacks'."""

from collections.abc import Mapping, Sequence
from typing import Final

import pulumi
from pulumi_kubernetes import networking

from components.model_pool import PodGroup
from components.pods import NAME_LABEL, Peer, PodPeer, metadata, network_policy
from registry.names import PoolName
from registry.release import StepKind
from stacks.programs.cluster.context import SERVING, TRAINING, Cluster
from stacks.programs.cluster.pools import PoolEndpoint

_STEPS: Final[tuple[StepKind, ...]] = ("dataset", "train", "publish", "evaluate", "release")


def job_label(step: StepKind) -> str:
    """Name label of the pods of a kind of job, whatever their domain."""
    return f"job-{step}"


EVALUATIONS: Final = PodGroup(namespace=TRAINING, labels={NAME_LABEL: job_label("evaluate")})
"""Pods that ask the pools for the answers that a verdict is about."""


def declare_training(
    cluster: Cluster, pools: Mapping[PoolName, PoolEndpoint], *, mlflow: PodPeer
) -> None:
    """Declare the policies of jobs: object storage for all, and what a kind needs beside it."""
    more: dict[StepKind, Sequence[Peer]] = {
        "train": [mlflow],
        "evaluate": [
            PodPeer(namespace=SERVING, labels=pool.pods, port=pool.http_port)
            for pool in pools.values()
        ],
    }
    for step in _STEPS:
        networking.v1.NetworkPolicy(
            f"{cluster.environment}-{job_label(step)}",
            metadata=metadata(job_label(step), TRAINING),
            spec=network_policy(
                job_label(step), egress=[*cluster.object_store.peers, *more.get(step, ())]
            ),
            opts=pulumi.ResourceOptions(provider=cluster.kubernetes),
        )
