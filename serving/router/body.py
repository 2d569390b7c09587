"""The request body: what the router reads of it, and what goes on to the model server. No I/O."""

import math
from dataclasses import dataclass
from typing import Any, Final

import pydantic_core

from serving.router.errors import Refusal, RefusedError
from serving.router.resolution import Asked, Serving

# What a tenant may set on the shared engine. Anything else is refused by name: the engine has
# fields that reach into its transport, its scheduling and other requests, more with each version.
_FORWARDED: Final = frozenset(
    {
        "model", "messages", "prompt", "suffix", "stream", "stream_options", "n", "seed", "stop",
        "max_tokens", "max_completion_tokens", "min_tokens", "temperature", "top_p", "top_k",
        "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias",
        "logprobs", "top_logprobs", "response_format", "tools", "tool_choice",
        "parallel_tool_calls", "reasoning_effort", "stop_token_ids", "include_stop_str_in_output",
        "skip_special_tokens", "ignore_eos", "add_generation_prompt", "continue_final_message",
        "return_tokens_as_token_ids",
    }
)  # fmt: skip
# Fields of the OpenAI interface that say nothing to the model server, and the router's own.
_DROPPED: Final = frozenset(
    {
        "lora_name", "user", "metadata", "store", "service_tier", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention",
    }
)  # fmt: skip
MAX_CHOICES: Final = 8
"""Answers that one request may ask for: prompts times choices."""


@dataclass(frozen=True)
class ParsedBody:
    """A request body that can be served."""

    fields: dict[str, Any]
    asked: Asked
    stream: bool
    wants_usage: bool
    """Whether a streaming client asked for the usage chunk."""


def parse(data: bytes) -> ParsedBody:
    """Read a body.

    Raises:
        RefusedError: Not a JSON object, no model, a field of the wrong type or of none that is
            served, or more answers than one request may ask for.
    """
    try:
        fields = pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise RefusedError(
            Refusal(400, "invalid_json", f"the request body is not JSON: {error}")
        ) from error
    if not isinstance(fields, dict):
        raise RefusedError(
            Refusal(400, "invalid_json", "the request body is not a JSON object, as {…}")
        )
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "is required: GET /v1/models lists the names that this key may use")
    lora_name = _optional(fields, "lora_name", str, "a string")
    stream = _optional(fields, "stream", bool, "true or false") or False
    _refuse_unknown(fields)
    _refuse_many_choices(fields, stream=stream)
    options = _optional(fields, "stream_options", dict, "an object") or {}
    return ParsedBody(
        fields, Asked(model, lora_name), stream, wants_usage=options.get("include_usage") is True
    )


def forwarded(
    body: ParsedBody, target: Serving, domain: str, *, provider: str | None = None
) -> bytes:
    """The body for the model server, or for the gateway that knows the pool as a provider.

    The model is the one that was resolved, usage is always reported, on every chunk of a stream,
    so that a stream that is cut off is metered too, and the prefix cache of the shared base model
    is split by domain.
    """
    fields = {name: value for name, value in body.fields.items() if name in _FORWARDED}
    served = target.served_model
    fields["model"] = served if provider is None else f"{provider}/{served}"
    if body.stream:
        fields["stream_options"] = {
            **(fields.get("stream_options") or {}),
            "include_usage": True,
            "continuous_usage_stats": True,
        }
    if target.digest is None:
        fields["cache_salt"] = domain
    return pydantic_core.to_json(fields, inf_nan_mode="null")


def _refuse_unknown(fields: dict[str, Any]) -> None:
    """Among them `prompt_logprobs` and `echo`.

    In vLLM 0.32 a request for the prompt's log probabilities (`echo` is one, even without
    `logprobs`) ends the engine, for every tenant, when it runs beside one with an adapter.
    """
    for name, value in fields.items():
        unset = value is None or value is False
        if name not in _FORWARDED and name not in _DROPPED and not unset:
            raise _wrong(name[:80], "is not a field that is served here: leave it out")
        if isinstance(value, float) and not math.isfinite(value):
            raise _wrong(name, "is out of range")


def _refuse_many_choices(fields: dict[str, Any], *, stream: bool) -> None:
    n = _optional(fields, "n", int, "a number")
    prompt = fields.get("prompt")
    # A list of numbers is one prompt, given as tokens.
    several = isinstance(prompt, list) and not all(isinstance(part, int) for part in prompt)
    prompts = len(prompt) if several and isinstance(prompt, list) else 1
    choices = prompts * (1 if n is None else n)
    if not 1 <= choices <= MAX_CHOICES:
        name = "prompt" if prompts > 1 else "n"
        raise _wrong(name, f"asks for {choices} answers; one request may ask for {MAX_CHOICES}")
    if stream and choices > 1:
        # While a stream runs, the engine reports the tokens of one choice at a time.
        raise _wrong("stream", "is served for one answer at a time: ask without it")


def _optional(fields: dict[str, Any], name: str, kind: type, meaning: str) -> Any:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise _wrong(name, f"must be {meaning}")
    return value


def _wrong(name: str, rule: str) -> RefusedError:
    return RefusedError(Refusal(400, "invalid_value", f"{name} {rule}", name))
