"""Objects of kinds that pulumi_kubernetes has no types for."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_kubernetes import apiextensions, meta

from components.pods import labels_of


def custom_object(
    name: str, manifest: Mapping[str, Any], part_of: str, opts: pulumi.ResourceOptions
) -> apiextensions.CustomResource:
    """Declare an object as it is written.

    Args:
        name: Name of the resource.
        manifest: The object; `apiVersion`, `kind`, `metadata` and `spec`.
        part_of: The workload that it belongs to.
        opts: Options of the resource.
    """
    given = manifest["metadata"]
    return apiextensions.CustomResource(
        name,
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        metadata=meta.v1.ObjectMetaArgs(
            name=given["name"],
            namespace=given["namespace"],
            labels={**labels_of(part_of), **given.get("labels", {})},
        ),
        spec=dict(manifest["spec"]),
        opts=opts,
    )
