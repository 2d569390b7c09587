"""A Helm chart of the lock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta

from components.pods import labels_of

_TIMEOUT_S: Final = 900
_MAX_RELEASE_NAME: Final = 53

PodSecurity = Literal["restricted", "baseline", "privileged"]


@dataclass(frozen=True, kw_only=True)
class ChartSource:
    """Where a chart comes from."""

    chart: str
    """Path of its archive, an oci:// address, or its name in the repository."""
    version: str
    repository: str | None
    kind: Literal["release", "chart", "manifest"]
    """Installed by Helm, so that hooks and `lookup` work; rendered; or no chart but one file."""


@dataclass(frozen=True, kw_only=True)
class LockedChartArgs:
    """What is installed, and with which values."""

    provider: kubernetes.Provider
    release: str
    """Name of the release."""
    source: ChartSource
    namespace: str
    pod_security: PodSecurity | None
    """The standard of the namespace, which is made with it; None where another chart made it."""
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.release) > _MAX_RELEASE_NAME:
            raise ValueError(
                f"release {self.release!r} has {len(self.release)} characters: Helm allows "
                f"{_MAX_RELEASE_NAME}"
            )


class LockedChart(pulumi.ComponentResource):
    """Namespace and release of one chart."""

    installed: pulumi.Resource
    """Whatever uses its kinds comes after it."""

    def __init__(
        self, name: str, args: LockedChartArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The chart.
            opts: Options of the component.
        """
        super().__init__("pipeline:kubernetes:LockedChart", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        if args.pod_security is not None:
            namespace = _namespace(name, args.namespace, args.pod_security, child)
            child = pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(depends_on=[namespace])
            )
        declare = {"release": _release, "chart": _chart, "manifest": _manifest}[args.source.kind]
        self.installed = declare(name, args, child)
        self.register_outputs({"release": args.release})


def _namespace(
    name: str, namespace: str, security: PodSecurity, opts: pulumi.ResourceOptions
) -> core.v1.Namespace:
    return core.v1.Namespace(
        name,
        metadata=meta.v1.ObjectMetaArgs(
            name=namespace,
            labels={**labels_of(namespace), "pod-security.kubernetes.io/enforce": security},
        ),
        opts=opts,
    )


def _release(name: str, args: LockedChartArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    return kubernetes.helm.v3.Release(
        name,
        kubernetes.helm.v3.ReleaseArgs(
            name=args.release,
            chart=args.source.chart,
            version=args.source.version,
            repository_opts=kubernetes.helm.v3.RepositoryOptsArgs(repo=args.source.repository)
            if args.source.repository
            else None,
            namespace=args.namespace,
            # A first installation that fails leaves nothing behind, so that `up` can try again.
            atomic=True,
            timeout=_TIMEOUT_S,
            values=dict(args.values),
        ),
        opts=opts,
    )


def _chart(name: str, args: LockedChartArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    return kubernetes.helm.v4.Chart(
        name,
        kubernetes.helm.v4.ChartArgs(
            name=args.release,
            chart=args.source.chart,
            version=args.source.version,
            repository_opts=kubernetes.helm.v4.RepositoryOptsArgs(repo=args.source.repository)
            if args.source.repository
            else None,
            namespace=args.namespace,
            values=dict(args.values),
        ),
        opts=opts,
    )


def _manifest(name: str, args: LockedChartArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    return kubernetes.yaml.v2.ConfigFile(
        name, kubernetes.yaml.v2.ConfigFileArgs(file=args.source.chart), opts=opts
    )
