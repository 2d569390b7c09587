"""What the pods of an environment need in AWS; what each reads and writes is in its own code."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from stacks.policies.statements import Access, Places, Statement, permissions

if TYPE_CHECKING:
    from stacks.programs.cluster.context import Workload

POINTERS: Final = "lora-adapters/*/latest"
MANIFESTS: Final = "lora-adapters/*/v*/manifest.json"
VERDICTS: Final = "lora-adapters/*/v*/evaluation.json"
ADAPTERS: Final = "lora-adapters/*"


def _router() -> tuple[Access, ...]:
    """Resolves requests by pointers and verified manifests; its sidecar ships the ledger."""
    return (
        Access(bucket="registry", read=(POINTERS, MANIFESTS, VERDICTS)),
        Access(
            bucket="warehouse",
            read=("writers/*", "shipped/*"),
            write=("writers/*", "shipped/*", "events/*", "orphans/*"),
        ),
    )


def _adapter_sync() -> tuple[Access, ...]:
    return (Access(bucket="registry", read=(ADAPTERS,)),)


def _vllm() -> tuple[Access, ...]:
    return (Access(bucket="models", read=("*",)),)


def _mlflow() -> tuple[Access, ...]:
    return (Access(bucket="artifacts", read=("*",), write=("*",)),)


def _langfuse() -> tuple[Access, ...]:
    """Deletes what its retention ends, and what a user deletes."""
    return (Access(bucket="traces", read=("*",), write=("*",), delete=("*",)),)


def _billing() -> tuple[Access, ...]:
    """Day parts, the close and notes."""
    return (
        Access(bucket="registry", read=("runs/*/result.json",), list=("runs/*",)),
        Access(
            bucket="warehouse",
            read=("*",),
            write=("runs/*", "parts/*", "closed/*", "closed-heads/*", "notes/*"),
        ),
    )


def _reconciliation() -> tuple[Access, ...]:
    """Reads what was shipped and counted, and what jobs asked of the pools; it writes nothing."""
    return (
        Access(bucket="registry", read=("runs/*/traffic-*.json",), list=("runs/*",)),
        Access(bucket="warehouse", read=("*",)),
    )


def _exporter() -> tuple[Access, ...]:
    return (
        Access(bucket="registry", read=(POINTERS, VERDICTS), list=(ADAPTERS,)),
        Access(
            bucket="warehouse",
            read=("writers/*", "parts/*.json"),
            list=("parts/*", "closed/*"),
        ),
    )


def _pod_reports() -> tuple[Access, ...]:
    return (Access(bucket="warehouse", read=("pods/*",), write=("pods/*",)),)


def _sampler() -> tuple[Access, ...]:
    return (Access(bucket="warehouse", write=("counters/*",)),)


_ACCESS: Final[Mapping["Workload", Callable[[], tuple[Access, ...]]]] = {
    "router": _router,
    "adapter-sync": _adapter_sync,
    "vllm": _vllm,
    "mlflow": _mlflow,
    "langfuse": _langfuse,
    "billing": _billing,
    "reconciliation": _reconciliation,
    "exporter": _exporter,
    "pod-reports": _pod_reports,
    "sampler": _sampler,
}


def workload_permissions(places: Places, workloads: Iterable["Workload"]) -> tuple[Statement, ...]:
    """Statements of the role of pods in which these workloads run together."""
    return permissions(places, [each for name in workloads for each in _ACCESS[name]()])
