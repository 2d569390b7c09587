"""A stand-in for vLLM's OpenAI server, for tests and benchmarks of what is around it.

It differs from vLLM in this: no model runs (an answer is a fixed function of the model's name, or
of the adapter's files, and the prompt); one word is one token; a prompt's token count is its
number of words; there is no context limit, no batching, no prefix cache and no chat template;
sampling fields are ignored. Names, statuses and shapes of `/v1/models`, `/v1/completions`,
`/v1/chat/completions`, `/v1/load_lora_adapter` and `/v1/unload_lora_adapter` follow vLLM 0.32,
as does its stream: one event for each token, usage on every chunk where it was asked for.
Faults (delays, broken connections, error statuses) are what a test sets on the object.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web


@dataclass
class StandInVllm:
    """State and faults of one stand-in server."""

    base_names: tuple[str, ...] = ("llama-8b", "glm5")
    adapters: dict[str, str] = field(default_factory=dict)
    default_tokens: int = 8
    token_delay_s: float = 0.0
    first_delay_s: float = 0.0
    refuse_connections: int = 0
    """How many of the next requests are cut off before any byte of an answer."""
    lost_by_envoy: int = 0
    """How many of the next requests are answered as by the pod's Envoy when vLLM ends."""
    status: int | None = None
    """Answer inference with this status."""
    failing: set[str] = field(default_factory=set)
    """Models whose requests end with status 500."""
    break_after: int | None = None
    """Cut a stream off after so many tokens."""
    fail_in_stream: bool = False
    """Say in the stream that the engine died, as vLLM does, and then end it as if all were well."""
    ignores_adapters: bool = False
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    cancelled: int = 0
    sent_tokens: int = 0
    keep_requests: bool = True

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_post("/v1/completions", self._inference)
        app.router.add_post("/v1/chat/completions", self._inference)
        return app

    def forget(self) -> None:
        """What a restart does."""
        self.adapters.clear()

    def words(self, model: str, count: int) -> list[str]:
        """The answer of a model: words made from what its weights are."""
        seed = self._weights(model)
        return [hashlib.sha256(f"{seed}{i}".encode()).hexdigest()[:6] for i in range(count)]

    def _weights(self, model: str) -> str:
        if self.ignores_adapters or model not in self.adapters:
            return "base"
        weights = Path(self.adapters[model]) / "adapter_model.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        data = [
            {"id": n, "object": "model", "root": "/base", "parent": None} for n in self.base_names
        ]
        data += [
            {"id": n, "object": "model", "root": path, "parent": self.base_names[0]}
            for n, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": data})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(path) / "adapter_config.json").is_file():
            return _error(404, f"No adapter found for {path}")
        self.adapters[name] = path
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def _inference(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_connections > 0:
            self.refuse_connections -= 1
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        if self.lost_by_envoy > 0:
            self.lost_by_envoy -= 1
            return web.Response(status=503, headers={"X-Engine-Lost": "UC"})
        body = await request.json()
        if self.keep_requests:
            self.requests.append((dict(request.headers), body))
        if self.status is not None:
            return _error(self.status, "made up by the test")
        model = body.get("model")
        if model not in self.base_names and model not in self.adapters:
            return _error(404, f"The model `{model}` does not exist.")
        if model in self.failing:
            return _error(500, "made up by the test")
        chat = request.path.endswith("/chat/completions")
        try:
            await asyncio.sleep(self.first_delay_s)
            if body.get("stream"):
                return await self._stream(request, body, chat=chat)
            return await self._whole(body, chat=chat)
        except (asyncio.CancelledError, ConnectionResetError):
            self.cancelled += 1
            raise

    async def _whole(self, body: dict[str, Any], *, chat: bool) -> web.Response:
        count = body.get("max_tokens") or self.default_tokens
        words = self.words(body["model"], count)
        await asyncio.sleep(self.token_delay_s * count)
        self.sent_tokens += count
        text = " ".join(words)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        if chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
            if body.get("logprobs") is not None:
                prompt = body["prompt"].split() if body.get("echo") else []
                choice["logprobs"] = {
                    "tokens": prompt + words,
                    "token_logprobs": [None]
                    + [-float(int(w, 16) % 97) for w in words]
                    + [-1.0] * (len(prompt) - 1),
                }
        return web.json_response(
            {
                "id": "x",
                "object": "chat.completion" if chat else "text_completion",
                "model": body["model"],
                "choices": [choice],
                "usage": _usage(_prompt_tokens(body), count),
            }
        )

    async def _stream(
        self, request: web.Request, body: dict[str, Any], *, chat: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        options = body.get("stream_options") or {}
        prompt_tokens = _prompt_tokens(body)
        count = body.get("max_tokens") or self.default_tokens
        for number, word in enumerate(self.words(body["model"], count), start=1):
            if self.break_after is not None and number > self.break_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            usage = _usage(prompt_tokens, number) if options.get("continuous_usage_stats") else None
            await response.write(_event(body["model"], word + " ", usage, chat=chat))
            self.sent_tokens += 1
            if self.token_delay_s:
                await asyncio.sleep(self.token_delay_s)
            if self.fail_in_stream:
                await response.write(_sse({"error": {"message": "EngineCore died", "code": 500}}))
                break
        if options.get("include_usage") and not self.fail_in_stream:
            last = {"model": body["model"], "choices": [], "usage": _usage(prompt_tokens, count)}
            await response.write(_sse(last))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def _event(model: str, text: str, usage: dict[str, Any] | None, *, chat: bool) -> bytes:
    piece = {"delta": {"content": text}} if chat else {"text": text}
    chunk: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "model": model,
        "choices": [{"index": 0, **piece, "finish_reason": None}],
    }
    if usage is not None:
        chunk["usage"] = usage
    return _sse(chunk)


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(value, separators=(",", ":")).encode()


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


def _prompt_tokens(body: dict[str, Any]) -> int:
    if "messages" in body:
        return sum(len(str(message.get("content")).split()) for message in body["messages"])
    return len(str(body.get("prompt")).split())


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "NotFoundError", "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--token-delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    server = StandInVllm(
        default_tokens=arguments.tokens,
        token_delay_s=arguments.token_delay_ms / 1e3,
        keep_requests=False,
    )
    with contextlib.suppress(KeyboardInterrupt):
        web.run_app(
            server.application(),
            host="127.0.0.1",
            port=arguments.port,
            access_log=None,
            print=None,
            handler_cancellation=True,
        )


if __name__ == "__main__":
    main()
