"""What the jobs of one domain's release need in AWS: a role for each kind of step.

A domain's name ends with a slash in every pattern, so `bank` says nothing about `bank-ledger`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from registry import layout
from registry.release import StepKind
from stacks.policies.names import Account, Purpose
from stacks.policies.statements import Access, Places, Statement, allow, permissions


def _dataset(domain: str) -> Access:
    return _run("dataset", domain)


def _train(domain: str) -> Access:
    """Writes nothing but its own run: not even a version of its own domain."""
    return _run("train", domain, "adapter/*")


def _publish(domain: str) -> Access:
    """Copies a trained adapter to its version; the verdict on it is not among what it writes."""
    version = f"lora-adapters/{domain}/v*/"
    files = (*(f"{version}*/{name}" for name in layout.ADAPTER_FILES), f"{version}manifest.json")
    trained = f"runs/{domain}/train-*/"
    own = _run("publish", domain)
    return Access(
        bucket="registry",
        read=(*own.read, f"{trained}result.json", f"{trained}adapter/*", *files),
        write=(*own.write, *files),
    )


def _evaluate(domain: str) -> Access:
    """Asks the model servers for answers; of the registry it writes the verdict alone."""
    version = f"lora-adapters/{domain}/v*/"
    own = _run("evaluate", domain, "traffic-*.json")
    return Access(
        bucket="registry",
        read=(*own.read, f"{version}manifest.json", f"{version}evaluation.json"),
        write=(*own.write, f"{version}evaluation.json"),
    )


def _release(domain: str) -> Access:
    version, pointer = f"lora-adapters/{domain}/v*/", layout.pointer(domain)
    own = _run("release", domain)
    judged = (f"{version}manifest.json", f"{version}evaluation.json", f"approvals/{domain}/*")
    return Access(
        bucket="registry", read=(*own.read, *judged, pointer), write=(*own.write, pointer)
    )


_ACCESS: Final[Mapping[StepKind, Callable[[str], Access]]] = {
    "dataset": _dataset,
    "train": _train,
    "publish": _publish,
    "evaluate": _evaluate,
    "release": _release,
}


def step_access(
    account: Account, kind: StepKind, domain: str, inputs: Iterable[str]
) -> tuple[Access, ...]:
    """What a domain's jobs of one kind read and write.

    Args:
        account: Of the environment.
        kind: Of the step.
        domain: Name of the domain.
        inputs: What the jobs fetch before they start: `s3://bucket/key`, or `s3://bucket/prefix/`
            for everything below.

    Raises:
        ValueError: An input is in no bucket for inputs, or of another domain.
    """
    return (_ACCESS[kind](domain), *(_input(domain, account, uri) for uri in inputs))


def step_permissions(
    places: Places, kind: StepKind, accesses: Iterable[Access]
) -> tuple[Statement, ...]:
    """Statements of the role of jobs of one kind, given `step_access`."""
    statements = permissions(places, accesses)
    return (*statements, _sign(places)) if kind == "evaluate" else statements


def _run(kind: StepKind, domain: str, *others: str) -> Access:
    """A run's own status and result, which every job reads before it starts."""
    folder = f"{layout.run_prefix(domain, f'{kind}-*')}"
    keys = tuple(f"{folder}{name}" for name in ("status.json", "result.json", *others))
    return Access(bucket="registry", read=keys[:2], write=keys)


def _input(domain: str, account: Account, uri: str) -> Access:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    named: dict[str, Purpose] = {
        account.bucket("datasets"): "datasets",
        account.bucket("models"): "models",
    }
    purpose = named.get(bucket)
    if purpose is None or not key or set(key) & set("*?$"):
        raise ValueError(
            f"{uri}: jobs read datasets from s3://{account.bucket('datasets')}/{domain}/ and base "
            f"models from s3://{account.bucket('models')}/: put it there"
        )
    if purpose == "datasets" and not key.startswith(f"{domain}/"):
        raise ValueError(
            f"{uri}: the jobs of {domain} read no dataset but those below "
            f"s3://{bucket}/{domain}/: put it there"
        )
    return Access(bucket=purpose, read=(f"{key}*" if key.endswith("/") else key,))


def _sign(places: Places) -> Statement:
    condition = {"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}
    return allow("SignVerdicts", ["kms:Sign"], [places.signing_key], condition)
