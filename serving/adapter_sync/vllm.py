"""What adapter-sync asks of a vLLM server."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from serving.pod_status import ProbeCounts


class ModelServerError(Exception):
    """The server refused or did not answer."""


@dataclass(frozen=True)
class Fingerprint:
    """How a model continues a fixed prompt."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]

    def differs(self, other: "Fingerprint") -> bool:
        """Whether the two cannot come from the same weights."""
        if self.tokens != other.tokens:
            return True
        pairs = zip(self.logprobs, other.logprobs, strict=True)
        return any(abs(mine - theirs) > _SAME for mine, theirs in pairs)


# Two runs of the same weights on the same prompt differ by batch effects well below this.
_SAME = 1e-3


@dataclass
class _Probes:
    """Counts what is asked of the server's models."""

    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    requests: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    failed: int = 0
    in_progress: int = 0

    def answered(self, body: dict[str, Any]) -> None:
        usage = body.get("usage") or {}
        self.requests += 1
        self.prompt_tokens += int(usage.get("prompt_tokens") or 0)
        self.generation_tokens += int(usage.get("completion_tokens") or 0)


class VllmServer:
    """One vLLM server with runtime LoRA updating."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout_s: float) -> None:
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._probes = _Probes()

    def probes(self) -> ProbeCounts:
        """What was asked of the server's models so far."""
        return ProbeCounts(**vars(self._probes))

    async def adapters(self) -> dict[str, str]:
        """Served name and path of every adapter that the server holds.

        Raises:
            ModelServerError: It does not answer.
        """
        body = await self._call("GET", "/v1/models")
        return {
            str(model["id"]): str(model.get("root"))
            for model in body.get("data", [])
            if model.get("parent")
        }

    async def load(self, name: str, path: str) -> None:
        """Load an adapter under a name that it does not hold yet. Raises ModelServerError."""
        await self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    async def unload(self, name: str) -> None:
        """Forget an adapter. Raises ModelServerError."""
        await self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    async def fingerprint(self, model: str, prompt: str) -> Fingerprint:
        """Continue a prompt by a few tokens. Raises ModelServerError.

        Log probabilities of the prompt itself would tell more, but in vLLM 0.32 a request for them
        ends the engine when requests with adapters are in the same batch.
        """
        request = {
            "model": model,
            "prompt": prompt,
            "max_tokens": 8,
            "temperature": 0,
            "logprobs": 1,
        }
        body = await self._probe(request)
        try:
            logprobs = body["choices"][0]["logprobs"]
            return Fingerprint(
                tuple(logprobs["tokens"]), tuple(lp or 0.0 for lp in logprobs["token_logprobs"])
            )
        except (KeyError, IndexError, TypeError) as error:
            raise ModelServerError(f"{model} gave no log probabilities for the probe") from error

    async def _probe(self, request: dict[str, object]) -> dict[str, Any]:
        self._probes.in_progress += 1
        try:
            body = await self._call("POST", "/v1/completions", request)
        except ModelServerError:
            self._probes.failed += 1
            raise
        finally:
            self._probes.in_progress -= 1
        self._probes.answered(body)
        return body

    async def _call(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=self._timeout
            ) as response:
                text = await response.text()
                if response.status != 200:
                    raise ModelServerError(f"{path}: HTTP {response.status}: {text[:500]}")
                is_json = response.content_type == "application/json"
                return await response.json() if is_json else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ModelServerError(f"{path}: {type(error).__name__}: {error}") from error
