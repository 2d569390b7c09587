"""Counters of a vLLM server, from its /metrics.

Read in the sources of vLLM 0.32 (`vllm/v1/metrics/loggers.py`, `stats.py`, `output_processor.py`
and `entrypoints/serve/instrumentator/metrics.py`):

- `http_requests_total{handler,method,status}` counts every HTTP request once, when its answer has
  ended in whatever way. It is what is compared with the ledger. `vllm:request_success_total` counts
  something else: one for each answer of a request for several, and none for a request whose client
  went away.
- `vllm:prompt_tokens_total` counts a prompt when its first token is out, tokens from the prefix
  cache included, once for each answer to it. `vllm:generation_tokens_total` counts as it goes.
- `vllm:request_params_n` is observed once for each prompt that was answered, with the number of its
  answers: its sum less its count is the number of answers beyond the first ones.
- None of them knows adapters, and `model_name` is always the first name that the server was given.
"""

from typing import Final

from serving.reconciliation.exposition import Counters, Exposition, ExpositionError

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions"})


def parse_vllm(text: str) -> Counters:
    """Read the counters.

    Raises:
        ExpositionError: It is not the text of a vLLM server.
    """
    found = Exposition(text)
    for family in ("http_requests", "vllm:prompt_tokens", "vllm:generation_tokens"):
        if not found.has(family):
            raise ExpositionError(f"there is no {family}_total: is this a vLLM server?")
    answers = found.total("vllm:request_params_n", "vllm:request_params_n_sum")
    prompts = found.total("vllm:request_params_n", "vllm:request_params_n_count")
    return Counters(
        started=found.moment("process_start_time_seconds"),
        counters={
            "requests": found.counter("http_requests", _is_inference),
            "prompt_tokens": found.counter("vllm:prompt_tokens"),
            "generation_tokens": found.counter("vllm:generation_tokens"),
            "further_answers": answers - prompts,
        },
    )


def _is_inference(labels: dict[str, str]) -> bool:
    return labels.get("method") == "POST" and labels.get("handler") in PATHS
