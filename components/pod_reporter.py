"""The reporter of model pods (`serving.pod_reports`), and what it may ask of the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta, rbac

from components.background_service import BackgroundService, BackgroundServiceArgs
from components.object_store import ObjectStoreAccess
from components.pods import Peer, Resources, labels_of, metadata
from serving.pod_reports.config import PodReportsConfig

_SERVICE = "pipeline-pod-reports"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, kw_only=True)
class PodReporterArgs:
    """Which pods it reports, and what it may reach."""

    provider: kubernetes.Provider
    namespace: str
    """Of the reporter; `config.namespace` is that of the pods."""
    image: str
    """Image of the serving environment, by digest."""
    config: PodReportsConfig
    egress: Sequence[Peer]
    """The API server."""
    object_store: ObjectStoreAccess = field(default_factory=ObjectStoreAccess)
    """Where the warehouse is."""


class PodReporter(pulumi.ComponentResource):
    """The service, and two roles: pods of one namespace, and nodes, which have none."""

    service: BackgroundService

    def __init__(
        self, name: str, args: PodReporterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The reporter.
            opts: Options of the component.
        """
        super().__init__("pipeline:billing:PodReporter", name, {}, opts)
        self.service = BackgroundService(
            name,
            BackgroundServiceArgs(
                provider=args.provider,
                namespace=args.namespace,
                service=_SERVICE,
                image=args.image,
                module="serving.pod_reports",
                config=args.config.model_dump_json(),
                resources=Resources(cpu="50m", memory="256Mi", scratch="64Mi"),
                egress=args.egress,
                object_store=args.object_store,
                asks_kubernetes=True,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        _allow_pods(name, args.config.namespace, self.service.service_account, child)
        _allow_nodes(name, args.namespace, self.service.service_account, child)
        self.register_outputs({})


def _allow_pods(
    name: str, namespace: str, account: core.v1.ServiceAccount, opts: pulumi.ResourceOptions
) -> None:
    role = rbac.v1.Role(
        name,
        metadata=metadata(_SERVICE, namespace),
        rules=[rbac.v1.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["get", "list"])],
        opts=opts,
    )
    rbac.v1.RoleBinding(
        name,
        metadata=metadata(_SERVICE, namespace),
        role_ref=rbac.v1.RoleRefArgs(api_group=_RBAC, kind="Role", name=role.metadata.name),
        subjects=[_subject(account)],
        opts=opts,
    )


def _allow_nodes(
    name: str, namespace: str, account: core.v1.ServiceAccount, opts: pulumi.ResourceOptions
) -> None:
    # Another environment in the cluster has its own.
    cluster_wide = meta.v1.ObjectMetaArgs(
        name=f"{namespace}-{_SERVICE}", labels=labels_of(_SERVICE)
    )
    role = rbac.v1.ClusterRole(
        name,
        metadata=cluster_wide,
        rules=[rbac.v1.PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["get"])],
        opts=opts,
    )
    rbac.v1.ClusterRoleBinding(
        name,
        metadata=cluster_wide,
        role_ref=rbac.v1.RoleRefArgs(api_group=_RBAC, kind="ClusterRole", name=role.metadata.name),
        subjects=[_subject(account)],
        opts=opts,
    )


def _subject(account: core.v1.ServiceAccount) -> rbac.v1.SubjectArgs:
    return rbac.v1.SubjectArgs(
        kind="ServiceAccount",
        name=account.metadata.name,
        namespace=account.metadata.namespace,
    )
