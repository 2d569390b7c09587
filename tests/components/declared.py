"""Runs a program against Pulumi's mocks and says what it declared.

Unlike the engine, the mocks check nothing against a provider and know no state; object names that
Kubernetes would complete are completed here with a fixed suffix, and of what AWS would answer there
is what components read.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc, set_mocks
from pulumi.runtime.settings import reset_options

COMPONENT = "pipeline:"
KUBERNETES = "kubernetes:"
DOMAIN_KEY = "pipeline:local:DomainKey"
PASSWORD = "pipeline:local:Password"
_SUFFIX = "-0a1b2c3d"
_KUBECONFIG = json.dumps(
    {
        "clusters": [
            {"cluster": {"server": "https://eks.test", "certificate-authority-data": "UEVN"}}
        ]
    }
)


def domain_key(serial: int) -> dict[str, str]:
    """What stands in for a random key and its hash."""
    return {"key": f"cmp_key_{serial}", "key_hash": f"sha256:{serial:064x}"}


def password(user: str, serial: int) -> str:
    """What stands in for a random password."""
    return f"pw_{user}_{serial}"


def revealed(value: Any) -> Any:
    """What a secret holds.

    Raises:
        AssertionError: The value is none: it would be in plain text in the stack's state.
    """
    assert isinstance(value, Mapping), "not a secret"
    assert value.get(rpc._special_sig_key) == rpc._special_secret_sig, "not a secret"
    return value["value"]


@dataclass(frozen=True)
class Declared:
    """One resource."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    provider: str
    parent: str
    """Type of the parent."""
    protect: bool
    """Whether the engine refuses to delete it."""
    after: frozenset[str]
    """Types and names of what must stand before it, such as `aws:kms/key:Key::name`."""


@dataclass
class Program:
    """What a program declared."""

    resources: list[Declared] = field(default_factory=list)
    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Registered outputs of each component, by its type and name."""

    def of_type(self, type_: str) -> list[Declared]:
        """Every resource of a type."""
        return [each for each in self.resources if each.type == type_]

    def one(self, type_: str, name: str) -> Declared:
        """The resource of a type and name."""
        (found,) = (each for each in self.of_type(type_) if each.name == name)
        return found

    def counts(self) -> Counter[str]:
        """How many of each type."""
        return Counter(each.type for each in self.resources)

    def objects(self) -> Iterator[Declared]:
        """Every Kubernetes object."""
        for each in self.resources:
            if each.type.startswith(KUBERNETES):
                yield each


Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""What a provider's function gives for its arguments."""


_ALWAYS: Mapping[str, Answer] = {
    "aws:kms/getPublicKey:getPublicKey": lambda asked: {
        "publicKeyPem": f"public half of {asked['keyId']}"
    }
}


class Mocks(mocks.Mocks):
    """Answers with what was declared, and to the questions that it was told about."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = {**_ALWAYS, **answers}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Answer, or refuse to."""
        if args.token not in self._answers:
            raise AssertionError(f"{args.token} asks a provider: components do not")
        return self._answers[args.token](args.args), []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Complete what was declared."""
        outputs = dict(args.inputs)
        if args.typ.startswith(KUBERNETES):
            metadata = dict(outputs.get("metadata") or {})
            outputs["metadata"] = {"name": f"{args.name}{_SUFFIX}", **metadata}
        return f"{args.name}-id", {**outputs, **_answers(args)}


def _answers(args: mocks.MockResourceArgs) -> dict[str, Any]:  # noqa: PLR0911  one a kind
    """What a provider would add."""
    if args.typ == DOMAIN_KEY:
        return domain_key(int(args.inputs["serial"]))
    if args.typ == PASSWORD:
        return {"password": password(args.inputs["user"], int(args.inputs["serial"]))}
    if args.typ == "eks:index:Cluster":
        return {"clusterSecurityGroupId": "sg-cluster", "kubeconfigJson": _KUBECONFIG}
    if args.typ == "aws:eks/nodeGroup:NodeGroup":
        return {"resources": [{"autoscalingGroups": [{"name": f"eks-{args.name}"}]}]}
    if args.typ == "aws:rds/instance:Instance":
        secret = {"secretArn": f"arn:aws:test::123456789012:secret:rds!db-{args.name}"}
        return {"address": f"{args.name}.rds.test", "masterUserSecrets": [secret], "port": 5432}
    if args.typ == "aws:elasticache/replicationGroup:ReplicationGroup":
        return {"primaryEndpointAddress": f"{args.name}.cache.test"}
    if args.typ == "aws:ec2/launchTemplate:LaunchTemplate":
        return {"latestVersion": 1}
    if args.typ.startswith("aws:") and "arn" not in args.inputs:
        return {"arn": _arn(args)}
    return {}


def _arn(args: mocks.MockResourceArgs) -> str:
    if args.typ == "aws:kms/key:Key":
        return f"arn:aws:kms:eu-central-1:123456789012:key/{args.name}"
    return f"arn:aws:test::123456789012:{args.name}"


class _Monitor(mocks.MockMonitor):
    """Also keeps what the mocks are not told: parents and registered outputs."""

    def __init__(self, program: Program, given: Mocks) -> None:
        super().__init__(given)
        self._program = program

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  as the base class
        answer = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack" and not request.type.startswith("pulumi:provid"):
            declared = Declared(
                type=request.type,
                name=request.name,
                inputs=pulumi.runtime.rpc.deserialize_properties(request.object),
                provider=request.provider,
                parent=request.parent.split("::")[2].rsplit("$", 1)[-1],
                protect=request.protect,
                after=frozenset(_type_and_name(urn) for urn in request.dependencies),
            )
            self._program.resources.append(declared)
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        outputs = pulumi.runtime.rpc.deserialize_properties(request.outputs)
        self._program.outputs[_type_and_name(request.urn)] = outputs
        return super().RegisterResourceOutputs(request)


def _type_and_name(urn: str) -> str:
    _, _, types, name = urn.split("::")
    return f"{types.rsplit('$', 1)[-1]}::{name}"


def declare(
    build: Callable[[], object],
    answers: Mapping[str, Answer] | None = None,
    stack: str = "prod",
    engine: Mocks | None = None,
) -> Program:
    """Run a program to its end.

    Args:
        build: The program.
        answers: What providers answer, by the token of the function that is asked.
        stack: Name of the stack.
        engine: Stands in for the engine, instead of one with these answers.
    """
    program = Program()
    with _mocked(program, engine or Mocks(answers or {}), stack):

        def run() -> None:
            build()

        pulumi.runtime.test(run)()
    return program


@contextmanager
def _mocked(program: Program, given: Mocks, stack: str) -> Iterator[None]:
    # Another test may have ended the loop that Pulumi's futures would use.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    set_mocks(
        given,
        project="pipeline",
        stack=stack,
        preview=False,
        monitor=_Monitor(program, given),
    )
    try:
        yield
    finally:
        # What is left behind would leak into the next test.
        reset_options()
        asyncio.set_event_loop(None)
        loop.close()
