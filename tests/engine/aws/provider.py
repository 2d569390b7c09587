"""The provider `aws`: every resource is created in an account in moto."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import pulumi_aws
from botocore.exceptions import ClientError
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from tests.engine.aws.account import Account
from tests.engine.aws.functions import FUNCTIONS
from tests.engine.aws.kind import Kind, NotKeptError, as_found, require_kept
from tests.engine.aws.kinds import KINDS
from tests.engine.aws.servicer import StandIn
from tests.engine.aws.values import Plain, has_unknown, merged, plain, struct

_DEFAULTS = "__defaults"
"""The provider notes here which inputs it made up."""
_RANDOM_DIGITS = 7
_UNIQUE_DIGITS = 26
"""Of what the provider puts behind the prefix of a name."""

Refusal = Callable[["Operation"], str | None]


@dataclass(frozen=True)
class Operation:
    """What the engine had done."""

    verb: Literal["create", "update", "delete"]
    token: str
    name: str


class AwsStandIn(StandIn):
    """Dispatches to one `Kind` for each resource type."""

    version = pulumi_aws._utilities.get_version()  # type: ignore[no-untyped-call]

    def __init__(self, account: Account) -> None:
        self.account = account
        self.done: list[Operation] = []
        """Everything that succeeded, in order."""
        self.refuse: Refusal = lambda _: None
        """Says why AWS refuses an operation; None lets it happen."""
        self._existing: dict[tuple[str, str], str] = {}

    def left(self) -> list[str]:
        """What was created and is still in the account."""
        return sorted(
            f"{token} {name}"
            for (token, identity), name in self._existing.items()
            if KINDS[token].read(self.account, identity) is not None
        )

    def found(self, token: str) -> dict[str, Plain]:
        """Properties in the account of everything of a kind, by the name in the program."""
        read = {
            name: KINDS[token].read(self.account, identity)
            for (kind, identity), name in self._existing.items()
            if kind == token
        }
        return {name: properties for name, properties in read.items() if properties is not None}

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        config = plain(request.args)
        region = config.get("region")
        if region != self.account.region:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"region {region!r} is not stood in for"
            )
        allowed = config.get("allowedAccountIds") or "[]"
        numbers = json.loads(allowed) if isinstance(allowed, str) else allowed
        if numbers and self.account.number not in numbers:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"AWS account ID not allowed: {self.account.number}",
            )
        return super().Configure(request, context)

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        function = FUNCTIONS.get(request.tok)
        if function is None:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the stand-in for AWS has no function {request.tok}: add it to FUNCTIONS",
            )
            raise AssertionError
        try:
            answer = function(self.account, plain(request.args))
        except ClientError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{request.tok}: {error}")
        named: dict[str, Any] = {"return": struct(answer)}
        return provider_pb2.InvokeResponse(**named)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        inputs = plain(request.news)
        if kind.name is not None and not {kind.name, f"{kind.name}Prefix"} & inputs.keys():
            old = plain(request.olds)
            made_up = f"{request.name}-{request.randomSeed.hex()[:_RANDOM_DIGITS]}"
            kept = old.get(kind.name) if kind.name in old.get(_DEFAULTS, ()) else None
            inputs |= {kind.name: kept or made_up, _DEFAULTS: [kind.name]}
        return provider_pb2.CheckResponse(inputs=struct(inputs))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        old, new = plain(request.old_inputs), plain(request.news)
        changed = sorted(
            key
            for key in {*old, *new} - {_DEFAULTS}
            if old.get(key) != new.get(key) or has_unknown(new.get(key))
        )
        replaced = [key for key in changed if key in kind.force_new]
        named = kind.name in new and kind.name not in new.get(_DEFAULTS, ())
        changes = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=changes.DIFF_SOME if changed else changes.DIFF_NONE,
            diffs=changed,
            replaces=replaced,
            # Two things of one name cannot exist side by side.
            deleteBeforeReplace=bool(replaced) and (named or kind.delete_first),
            detailedDiff={key: _difference(old, new, key, replaced) for key in changed},
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        inputs = _without_defaults(plain(request.properties))
        if request.preview:
            # What a response lacks is unknown in a preview.
            return provider_pb2.CreateResponse(id="", properties=struct(inputs))
        with self._operation("create", request, context):
            identity = kind.create(self.account, inputs | _unique_name(kind, inputs))
            self._existing[request.type, identity] = request.name
            state = self._read_back(kind, identity, inputs)
        return provider_pb2.CreateResponse(id=identity, properties=struct(state))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        found = kind.read(self.account, request.id)
        if found is None:
            return provider_pb2.ReadResponse(id="")
        inputs = as_found(kind, plain(request.inputs), found)
        state = merged({**plain(request.properties), **found}, _without_defaults(inputs))
        return provider_pb2.ReadResponse(
            id=request.id, properties=struct(state), inputs=struct(inputs)
        )

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        old = _without_defaults(plain(request.old_inputs))
        new = _without_defaults(plain(request.news))
        if request.preview:
            return provider_pb2.UpdateResponse(properties=struct({**plain(request.olds), **new}))
        with self._operation("update", request, context):
            kind.update(self.account, request.id, old, new)
            state = self._read_back(kind, request.id, new)
        return provider_pb2.UpdateResponse(properties=struct(state))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request, context)
        with self._operation("delete", request, context):
            inputs = _without_defaults(plain(request.old_inputs))
            kind.delete(self.account, request.id, inputs)
        return empty_pb2.Empty()

    def _read_back(self, kind: Kind, identity: str, inputs: Plain) -> Plain:
        found = kind.read(self.account, identity)
        if found is None:
            raise NotKeptError(f"{kind.token}: {identity} is not in the account")
        require_kept(kind, inputs, found)
        return merged(found, inputs)

    @contextmanager
    def _operation(
        self, verb: Literal["create", "update", "delete"], request: Any, context: Any
    ) -> Iterator[None]:
        operation = Operation(verb, request.type, request.name)
        reason = self.refuse(operation)
        if reason is not None:
            context.abort(grpc.StatusCode.UNKNOWN, reason)
        try:
            yield
        except Exception as error:
            problem = str(error) or repr(error)
            context.abort(
                grpc.StatusCode.UNKNOWN, f"{verb} {request.type} {request.name}: {problem}"
            )
        self.done.append(operation)


def _kind(request: Any, context: Any) -> Kind:
    kind = KINDS.get(request.type)
    if kind is None:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"the stand-in for AWS does not know {request.type}: add it to kinds/",
        )
        raise AssertionError
    return kind


def _unique_name(kind: Kind, inputs: Plain) -> Plain:
    prefix = inputs.get(f"{kind.name}Prefix")
    if prefix is None or kind.name is None:
        return {}
    return {kind.name: prefix + secrets.token_hex(_UNIQUE_DIGITS // 2)}


def _without_defaults(inputs: Mapping[str, Any]) -> Plain:
    return {key: value for key, value in inputs.items() if key != _DEFAULTS}


def _difference(old: Plain, new: Plain, key: str, replaced: list[str]) -> Any:
    kinds = provider_pb2.PropertyDiff
    word = "UPDATE" if key in old and key in new else "ADD" if key in new else "DELETE"
    return kinds(
        kind=kinds.Kind.Value(f"{word}_REPLACE" if key in replaced else word), inputDiff=True
    )
