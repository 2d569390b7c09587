"""Counters of adapter-sync, from its /status: what it asked of its model server itself."""

from pydantic import ValidationError

from serving.pod_status import PodStatus
from serving.reconciliation.exposition import Counters, ExpositionError


def parse_adapter_sync(text: str) -> Counters:
    """Read the counters.

    Raises:
        ExpositionError: It is not the status of an adapter-sync that counts its probes.
    """
    try:
        probes = PodStatus.model_validate_json(text).probes
    except ValidationError as error:
        raise ExpositionError(
            f"not the status of adapter-sync: {error.errors()[0]['msg']}"
        ) from error
    if probes is None:
        raise ExpositionError("it does not count its probes: is it an older version?")
    return Counters(
        started=probes.since,
        counters={
            "requests": probes.requests,
            "prompt_tokens": probes.prompt_tokens,
            "generation_tokens": probes.generation_tokens,
            "failed": probes.failed,
            "in_progress": probes.in_progress,
        },
    )
