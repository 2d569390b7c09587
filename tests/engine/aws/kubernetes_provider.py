"""The provider `kubernetes`, with objects in memory: which there are, and in what order."""

from collections import defaultdict
from typing import Any, Final, Literal

import grpc
import pulumi_kubernetes
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub

from tests.engine.aws.provider import Operation
from tests.engine.aws.servicer import StandIn, registration
from tests.engine.aws.values import Plain, bare, has_unknown, inside, plain, struct

_AUTONAMED: Final = "pulumi.com/autonamed"
_RANDOM_DIGITS: Final = 8
_SELECTED: Final = ("spec.selector",)
_FORCE_NEW: Final = {
    "kubernetes:apps/v1:DaemonSet": _SELECTED,
    "kubernetes:apps/v1:Deployment": _SELECTED,
    "kubernetes:apps/v1:StatefulSet": (
        *_SELECTED,
        "spec.podManagementPolicy",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    "kubernetes:batch/v1:Job": (
        *_SELECTED,
        "spec.completions",
        "spec.parallelism",
        "spec.template",
    ),
    "kubernetes:core/v1:ConfigMap": ("data", "binaryData"),
    "kubernetes:core/v1:PersistentVolumeClaim": (
        *_SELECTED,
        "spec.accessModes",
        "spec.storageClassName",
        "spec.volumeName",
    ),
    "kubernetes:core/v1:Secret": ("type", "data", "stringData"),
    "kubernetes:core/v1:Service": ("spec.clusterIP",),
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": ("roleRef",),
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": ("roleRef",),
    "kubernetes:storage.k8s.io/v1:StorageClass": ("parameters", "provisioner"),
}
"""What needs a new object, beside its name and namespace; as in the real provider's source."""


class KubernetesStandIn(StandIn):
    """Keeps every object.

    Charts and files of objects are components without children: nothing is rendered.
    """

    version = pulumi_kubernetes._utilities.get_version()  # type: ignore[no-untyped-call]
    # The engine lets no other provider construct.
    keeps_secrets = True

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Plain]] = defaultdict(dict)
        """Inputs of what there is, by type and id."""
        self.done: list[Operation] = []

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = plain(request.news)
        metadata = inside(inputs.get("metadata"))
        if isinstance(metadata, dict) and "name" not in metadata:
            old = bare(plain(request.olds)).get("metadata", {})
            kept = old.get("name") if _is_autonamed(old) else None
            digits = request.randomSeed.hex()[:_RANDOM_DIGITS]
            metadata["name"] = kept or f"{request.name}-{digits}"
            metadata["annotations"] = {**metadata.get("annotations", {}), _AUTONAMED: "true"}
        return provider_pb2.CheckResponse(inputs=struct(inputs))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        old, new = bare(plain(request.old_inputs)), bare(plain(request.news))
        fixed = ("metadata.name", "metadata.namespace", *_FORCE_NEW.get(request.type, ()))
        changed = sorted(key for key in {*old, *new} if _differs(old, new, key))
        replaced = [path for path in fixed if _differs(old, new, path)]
        stays = _place(old) == _place(new) and not _is_autonamed(new.get("metadata", {}))
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if changed else changes.DIFF_NONE,
            diffs=changed,
            replaces=replaced,
            deleteBeforeReplace=bool(replaced) and stays,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = bare(plain(request.properties))
        if request.preview:
            return provider_pb2.CreateResponse(id="", properties=request.properties)
        identity = "/".join(_place(inputs)) or request.name
        if identity in self.objects[request.type]:
            context.abort(
                grpc.StatusCode.ALREADY_EXISTS, f"{request.type} {identity!r} already exists"
            )
        self._keep("create", request, identity, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=request.properties)

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.id not in self.objects[request.type]:
            return provider_pb2.ReadResponse(id="")
        return provider_pb2.ReadResponse(
            id=request.id, properties=request.properties, inputs=request.inputs
        )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not request.preview:
            self._keep("update", request, request.id, bare(plain(request.news)))
        return provider_pb2.UpdateResponse(properties=request.news)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        del self.objects[request.type][request.id]
        self.done.append(Operation("delete", request.type, request.name))
        return empty_pb2.Empty()

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        with grpc.insecure_channel(request.monitorEndpoint) as channel:
            urn = ResourceMonitorStub(channel).RegisterResource(registration(request)).urn
        return provider_pb2.ConstructResponse(urn=urn, state=struct({"resources": []}))

    def _keep(
        self, verb: Literal["create", "update"], request: Any, identity: str, inputs: Plain
    ) -> None:
        self.objects[request.type][identity] = inputs
        self.done.append(Operation(verb, request.type, request.name))


def _differs(old: Plain, new: Plain, path: str) -> bool:
    before, after = _at(old, path), _at(new, path)
    return bool(before != after) or has_unknown(after)


def _at(inputs: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(inputs, dict):
            return inputs if has_unknown(inputs) else None
        inputs = inputs.get(key)
    return inputs


def _is_autonamed(metadata: Plain) -> bool:
    return bool((metadata.get("annotations") or {}).get(_AUTONAMED) == "true")


def _place(inputs: Plain) -> tuple[str, ...]:
    metadata = inputs.get("metadata")
    if not isinstance(metadata, dict):
        return ()
    return (str(metadata.get("namespace", "default")), str(metadata.get("name")))
