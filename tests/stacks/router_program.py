"""The router of an environment, declared alone."""

from types import SimpleNamespace
from typing import Any, cast

import pulumi_kubernetes as kubernetes

from components.background_service import Scraping
from components.object_store import ObjectStoreAccess
from components.pods import POD_IDENTITY, NetworkPeer, PodPeer, SecretKey
from stacks.config.images import Images
from stacks.config.router import RouterOptions
from stacks.programs.cluster.context import Cluster
from stacks.programs.cluster.router import RoutedPool, RouterWiring, declare_router
from tests.components.declared import Program, declare

IMAGE = "registry.example.com/serving@sha256:" + "0a" * 32
_SCRAPING = Scraping(
    prometheus=PodPeer(namespace="monitoring", labels={"app": "prometheus"}, port=9000),
    monitor_labels={"release": "metrics"},
)


def pool(name: str, **changes: Any) -> RoutedPool:
    """A pool of the usual names and ports."""
    values: dict[str, Any] = {
        "served_base": f"base-{name}",
        "aliases": (name, f"base-{name}"),
        "quorum": 1,
        "headless_service": f"vllm-{name}-pods",
        "pods": {"app": f"vllm-{name}"},
        "http_port": 8000,
        "adapter_sync_port": 8090,
    }
    return RoutedPool(**(values | changes))


def router_program(
    config: RouterOptions, *, operators: frozenset[Any] = frozenset(), **changes: Any
) -> Program:
    """Declare the router; `changes` are of its wiring."""
    values: dict[str, Any] = {
        "pools": {"slm": pool("slm"), "llm": pool("llm")},
        "registry_uri": "s3://registry",
        "warehouse_uri": "s3://warehouse",
        "evaluation_public_key": "-----BEGIN PUBLIC KEY-----\n",
        "gateway": [PodPeer(namespace="agentic-serving", labels={"app": "edge"}, port=1)],
        "scraping": _SCRAPING,
    }

    def build() -> None:
        cluster = Cluster(
            environment="prod",
            kubernetes=kubernetes.Provider("cluster"),
            aws=None,
            images=cast("Images", SimpleNamespace(serving=IMAGE)),
            operators=operators,
            api_server="10.0.0.1/32",
            object_store=ObjectStoreAccess(
                environment={"AWS_REGION": "eu-central-1"},
                secrets={"AWS_ACCESS_KEY_ID": SecretKey(secret="s3", key="id")},
                peers=(POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)),
            ),
            tags={},
        )
        declare_router(config, cluster, RouterWiring(**(values | changes)))

    return declare(build)
