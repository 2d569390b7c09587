"""Ask an OpenAI-compatible server, many questions at a time."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

_TIMEOUT_S = 300.0


class OpenAIClient:
    """One server; `headers` go with every request."""

    def __init__(self, url: str, *, headers: dict[str, str] | None = None) -> None:
        """Talk to `url`, which ends in `/v1`."""
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)

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
        return str(answer.json()["choices"][0]["message"]["content"] or "")
