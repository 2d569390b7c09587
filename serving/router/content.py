"""Prompt and answer as text, for the traces of domains whose content is captured. No I/O."""

import json
from typing import Any

import pydantic_core


def prompt_text(body: bytes) -> str:
    """The messages of a chat request as JSON, or the prompt of a completion."""
    fields = _json(body)
    asked = fields.get("messages", fields.get("prompt", ""))
    return asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)


def answer_text(data: bytes, *, stream: bool) -> str:
    """What the model wrote in its first choice, from a whole answer or from a stream's events."""
    if not stream:
        return _choice_text(_json(data))
    lines = (line for line in data.split(b"\n") if line.startswith(b"data: {"))
    return "".join(_choice_text(_json(line.removeprefix(b"data: "))) for line in lines)


def _choice_text(answer: dict[str, Any]) -> str:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return ""
    choice = choices[0]
    part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
    return str(part.get("content") or "") if isinstance(part, dict) else ""


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = pydantic_core.from_json(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
