"""Counters of one provider of a Bifrost gateway, from its /metrics.

Names and labels are those of Bifrost's documentation of its telemetry (v2.2); no Bifrost was run
against this. Every attempt at the provider is an upstream request, and tokens are counted when an
answer has ended. A provider has no series before its first request: that counts as 0.
"""

from serving.reconciliation.exposition import Counters, Exposition


def parse_bifrost(text: str, provider: str) -> Counters:
    """Read the counters of a provider.

    Raises:
        ExpositionError: It is not the Prometheus text format.
    """
    found = Exposition(text)

    def is_wanted(labels: dict[str, str]) -> bool:
        return labels.get("provider") == provider

    return Counters(
        started=found.moment("process_start_time_seconds"),
        counters={
            "requests": found.counter("bifrost_upstream_requests", is_wanted),
            "prompt_tokens": found.counter("bifrost_input_tokens", is_wanted),
            "generation_tokens": found.counter("bifrost_output_tokens", is_wanted),
        },
    )
