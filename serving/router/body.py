"""The request body: what the router reads of it, and what goes on to the model server. No I/O."""

from dataclasses import dataclass
from typing import Any, Final

import pydantic_core

from serving.router.errors import Refusal, RefusedError
from serving.router.resolution import Asked, Serving

# Fields of the model server that reach into its transport or its scheduling: not a tenant's to set.
_RESERVED: Final = ("lora_name", "cache_salt", "kv_transfer_params", "priority", "request_id")


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
        RefusedError: Not a JSON object, no model, or a field of the wrong type.
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
    _refuse_prompt_logprobs(fields)
    options = _optional(fields, "stream_options", dict, "an object") or {}
    return ParsedBody(
        fields, Asked(model, lora_name), stream, wants_usage=options.get("include_usage") is True
    )


def forwarded(body: ParsedBody, target: Serving, domain: str) -> bytes:
    """The body for the model server.

    The model is the one that was resolved, usage is always reported, on every chunk of a stream,
    so that a stream that is cut off is metered too, and the prefix cache of the shared base model
    is split by domain.
    """
    fields = {name: value for name, value in body.fields.items() if name not in _RESERVED}
    fields["model"] = target.served_model
    if body.stream:
        fields["stream_options"] = {
            **(fields.get("stream_options") or {}),
            "include_usage": True,
            "continuous_usage_stats": True,
        }
    if target.digest is None:
        fields["cache_salt"] = domain
    return pydantic_core.to_json(fields)


def _refuse_prompt_logprobs(fields: dict[str, Any]) -> None:
    """In vLLM 0.32 such a request ends the engine, for every tenant, beside one with an adapter."""
    asked = fields.get("prompt_logprobs") is not None
    if asked or (fields.get("echo") and fields.get("logprobs") is not None):
        name = "prompt_logprobs" if asked else "echo"
        raise _wrong(name, "asks for log probabilities of the prompt, which are not served")


def _optional(fields: dict[str, Any], name: str, kind: type, meaning: str) -> Any:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise _wrong(name, f"must be {meaning}")
    return value


def _wrong(name: str, rule: str) -> RefusedError:
    return RefusedError(Refusal(400, "invalid_value", f"{name} {rule}", name))
