"""Prompts and answers as the messages of the OpenTelemetry GenAI conventions. No I/O.

A message is `{"role": …, "parts": [{"type": "text", "content": …}, …]}`. Of an answer, the text of
the first choice is shown; calls of tools that the model asks for are not.
"""

import hashlib
import hmac
import json
from typing import Any, Final

import pydantic_core

MAX_CAPTURED_BYTES: Final = 256 * 1024
"""Prompts over this are not in traces, and answers only from their beginning up to here."""

_CUT_TAIL: Final = 256

Message = dict[str, Any]


def input_messages(body: bytes) -> list[Message]:
    """The messages of a chat request, or the prompt of a completion; empty when it has neither."""
    fields = _json(body)
    messages = fields.get("messages")
    if isinstance(messages, list):
        return [_message(message) for message in messages if isinstance(message, dict)]
    prompt = fields.get("prompt")
    if prompt is None:
        return []
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if prompts and all(isinstance(part, int) for part in prompts):
        return [{"role": "user", "parts": [{"type": "token_ids", "content": prompts}]}]
    return [{"role": "user", "parts": [_text(part) for part in prompts]}]


def output_messages(data: bytes, *, stream: bool) -> list[Message]:
    """The first choice, from a whole answer or from a stream's events, joined."""
    events = _events(data) if stream else [_json(data)]
    choices = [choice for event in events if (choice := _first_choice(event)) is not None]
    if not choices:
        return []
    text = "".join(_choice_text(choice) for choice in choices)
    if len(data) >= MAX_CAPTURED_BYTES:
        # A number that is cut in the middle is not recognised as what it is part of.
        text = text[:-_CUT_TAIL]
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return [
        {
            "role": "assistant",
            "parts": [_text(text)],
            "finish_reason": str(reasons[-1]) if reasons else "unknown",
        }
    ]


def as_json(messages: list[Message]) -> str | None:
    """The attribute's value; None when there is nothing to show."""
    if not messages:
        return None
    # A lone surrogate is a str in Python, and no text in protobuf.
    return json.dumps(messages, ensure_ascii=False).encode(errors="replace").decode()


def hashed(messages: str | None, key: bytes) -> str | None:
    """A hash by which equal contents can be found, and guessed by nobody without the key."""
    if messages is None:
        return None
    return f"hmac-sha256:{hmac.new(key, messages.encode(), hashlib.sha256).hexdigest()}"


def _message(message: dict[str, Any]) -> Message:
    content = message.get("content")
    items = content if isinstance(content, list) else [] if content is None else [content]
    if message.get("role") == "tool":
        call = {"type": "tool_call_response", "id": message.get("tool_call_id")}
        return {"role": "tool", "parts": [{**call, "response": content}]}
    calls = message.get("tool_calls")
    asked = calls if isinstance(calls, list) else []
    parts = [_part(item) for item in items]
    parts += [_tool_call(call) for call in asked if isinstance(call, dict)]
    return {"role": message.get("role"), "parts": parts}


def _part(item: object) -> dict[str, Any]:
    if isinstance(item, dict) and item.get("type") == "text":
        return _text(item.get("text"))
    return item if isinstance(item, dict) else _text(item)


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    named = function if isinstance(function, dict) else {}
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": named.get("name"),
        "arguments": named.get("arguments"),
    }


def _text(content: object) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _events(data: bytes) -> list[dict[str, Any]]:
    lines = (line for line in data.split(b"\n") if line.startswith(b"data: {"))
    return [_json(line.removeprefix(b"data: ")) for line in lines]


def _first_choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    return choices[0]


def _choice_text(choice: dict[str, Any]) -> str:
    part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    return str(part.get("content") or "") if isinstance(part, dict) else ""


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = pydantic_core.from_json(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
