"""How whoever runs the engine reaches the API of a cluster."""

import json

import pulumi
import pulumi_kubernetes as kubernetes

from stacks.contract import ContextAccess, EksAccess


def provider(
    name: str,
    access: ContextAccess | EksAccess,
    opts: pulumi.ResourceOptions | None = None,
) -> kubernetes.Provider:
    """The provider of everything on a cluster.

    Args:
        name: Name of the provider in the stack.
        access: How the cluster is reached.
        opts: Options of the provider.
    """
    if isinstance(access, ContextAccess):
        return kubernetes.Provider(
            name, context=access.context, enable_server_side_apply=True, opts=opts
        )
    return kubernetes.Provider(
        name,
        kubeconfig=json.dumps(kubeconfig(access)),
        enable_server_side_apply=True,
        opts=opts,
    )


def kubeconfig(access: EksAccess) -> dict[str, object]:
    """A kubeconfig without a secret: the AWS command makes a token for whoever runs it."""
    arguments = ["--region", access.region, "eks", "get-token", "--cluster-name", access.cluster]
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": access.cluster,
                "cluster": {
                    "server": access.endpoint,
                    "certificate-authority-data": access.certificate_authority,
                },
            }
        ],
        "users": [
            {
                "name": access.cluster,
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1",
                        "command": "aws",
                        "args": arguments,
                        "interactiveMode": "Never",
                    }
                },
            }
        ],
        "contexts": [
            {
                "name": access.cluster,
                "context": {"cluster": access.cluster, "user": access.cluster},
            }
        ],
        "current-context": access.cluster,
    }
