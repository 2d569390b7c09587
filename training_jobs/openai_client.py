"""Ask an OpenAI-compatible server, many questions at a time."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from registry.traffic import Asked

_TIMEOUT_S = 300.0


class OpenAIClient:
    """One server; `headers` go with every request."""

    def __init__(self, url: str, *, headers: dict[str, str] | None = None) -> None:
        """Talk to `url`, which ends in `/v1`."""
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)
        self._lock = threading.Lock()
        self._asked = Asked()

    @property
    def asked(self) -> Asked:
        """What was asked of the server's models so far."""
        return self._asked

    def wait_for(self, model: str, *, timeout_s: float) -> None:
        """Wait until the server lists a model.

        Raises:
            TimeoutError: It does not in time.
        """
        deadline = time.monotonic() + timeout_s
        listed: list[str] = []
        while time.monotonic() < deadline:
            try:
                listed = [each["id"] for each in self._http.get("/models").json()["data"]]
            except (httpx.TransportError, ValueError, KeyError):
                listed = []
            if model in listed:
                return
            time.sleep(1)
        raise TimeoutError(
            f"{self._http.base_url} does not serve {model!r} after {timeout_s:.0f} s; "
            f"it lists {', '.join(listed) or 'nothing'}: see the log of adapter-sync"
        )

    def answers(
        self,
        model: str,
        questions: Sequence[str],
        *,
        max_tokens: int,
        parallel: int = 16,
        on_answer: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Greedy answers, in the order of the questions.

        Raises:
            httpx.HTTPError: The server refuses or does not answer.
        """

        def ask(question: str) -> str:
            text = self._ask(model, question, max_tokens)
            on_answer()
            return text

        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(ask, questions))

    def _ask(self, model: str, question: str, max_tokens: int) -> str:
        self._count(unanswered=1)
        answer = self._http.post(
            "/chat/completions",
            json={
                "model": model,
                "messages": [{"role": "user", "content": question}],
                "max_tokens": max_tokens,
                "temperature": 0,
            },
        )
        answer.raise_for_status()
        body = answer.json()
        self._count(unanswered=-1, answered=1, usage=body.get("usage"))
        return str(body["choices"][0]["message"]["content"] or "")

    def _count(
        self, *, unanswered: int, answered: int = 0, usage: dict[str, Any] | None = None
    ) -> None:
        tokens = usage or {}
        with self._lock:
            before = self._asked
            self._asked = Asked(
                answered=before.answered + answered,
                prompt_tokens=before.prompt_tokens + tokens.get("prompt_tokens", 0),
                generation_tokens=before.generation_tokens + tokens.get("completion_tokens", 0),
                unanswered=before.unanswered + unanswered,
            )
