"""The provider `kubernetes`, with objects in memory: which there are, and in what order."""

from collections import defaultdict
from typing import Any, Literal

import grpc
import pulumi_kubernetes
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from tests.engine.aws.provider import Operation
from tests.engine.aws.servicer import StandIn
from tests.engine.aws.values import Plain, has_unknown, plain, struct

_CREATED_ANEW = {"kubernetes:batch/v1:Job": "spec"}
"""Kinds whose specification the API server does not change."""


class KubernetesStandIn(StandIn):
    """Keeps every object; a change of its name or namespace needs a new one."""

    version = pulumi_kubernetes._utilities.get_version()

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Plain]] = defaultdict(dict)
        """Inputs of what there is, by type and id."""
        self.done: list[Operation] = []

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = plain(request.news)
        metadata = inputs.get("metadata")
        if isinstance(metadata, dict) and "name" not in metadata:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{request.type} {request.name}: the stand-in makes up no names: set metadata.name",
            )
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        old, new = plain(request.old_inputs), plain(request.news)
        changed = sorted(
            key for key in {*old, *new} if old.get(key) != new.get(key) or has_unknown(new.get(key))
        )
        replaced = [key for key in changed if key == _CREATED_ANEW.get(request.type)]
        if _place(old) != _place(new):
            replaced.append("metadata")
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if changed else changes.DIFF_NONE,
            diffs=changed,
            replaces=replaced,
            deleteBeforeReplace=bool(replaced) and _place(old) == _place(new),
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = plain(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(id="", properties=request.properties)
        identity = "/".join(_place(inputs)) or request.name
        if identity in self.objects[request.type]:
            context.abort(
                grpc.StatusCode.ALREADY_EXISTS, f"{request.type} {identity!r} already exists"
            )
        self._keep("create", request, identity, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=struct(inputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = self.objects[request.type].get(request.id)
        if inputs is None:
            return provider_pb2.ReadResponse(id="")
        return provider_pb2.ReadResponse(
            id=request.id, properties=struct(inputs), inputs=struct(inputs)
        )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = plain(request.news)
        if not request.preview:
            self._keep("update", request, request.id, inputs)
        return provider_pb2.UpdateResponse(properties=struct(inputs))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        del self.objects[request.type][request.id]
        self.done.append(Operation("delete", request.type, request.name))
        return empty_pb2.Empty()

    def _keep(
        self, verb: Literal["create", "update"], request: Any, identity: str, inputs: Plain
    ) -> None:
        self.objects[request.type][identity] = inputs
        self.done.append(Operation(verb, request.type, request.name))


def _place(inputs: Plain) -> tuple[str, ...]:
    metadata = inputs.get("metadata")
    if not isinstance(metadata, dict):
        return ()
    return (str(metadata.get("namespace", "default")), str(metadata.get("name")))
