"""Requests of two kinds, whole and streamed, from several clients at once, through the edge."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from benchmarks.swap_adapters import PROMPTS

ALIAS = "slm"
_TOKENS = 4
_TIMEOUT_S = 90


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Who asks: by name and key of a domain."""

    edge: str
    domain: str
    key: str

    def ask(self, prompt: str, *, stream: bool = False) -> "Answer":
        """Send a request and wait for the end of its answer, or of the connection."""
        begun, text, request_id, status = False, "", "", 0
        body: dict[str, Any] = {
            "model": ALIAS,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": _TOKENS,
            "temperature": 0,
            "stream": stream,
        }
        headers = {"X-Customer-Domain": self.domain, "Authorization": f"Bearer {self.key}"}
        try:
            with requests.post(
                f"{self.edge}/v1/chat/completions",
                json=body,
                headers=headers,
                stream=True,
                timeout=_TIMEOUT_S,
            ) as answer:
                status, request_id = answer.status_code, answer.headers.get("X-Request-Id", "")
                for line in answer.iter_lines():
                    begun = True
                    text += f"{line.decode()}\n"
        except requests.RequestException as error:
            return Answer(self.domain, status, text, request_id, begun=begun, broken=repr(error))
        return Answer(self.domain, status, text, request_id, begun=begun)


@dataclass(frozen=True)
class Answer:
    """What a client saw of one answer."""

    domain: str
    status: int
    """0 where the connection broke before there was one."""
    body: str
    request_id: str
    begun: bool
    """Whether some of the body came."""
    broken: str = ""
    """How the connection broke, if it did."""

    @property
    def text(self) -> str:
        """What the model said."""
        if not self.body.startswith("data: "):
            return str(json.loads(self.body)["choices"][0]["message"]["content"]).strip()
        lines = (line.removeprefix("data: ") for line in self.body.splitlines() if line)
        chunks = [json.loads(line) for line in lines if line != "[DONE]"]
        deltas = (chunk["choices"][0]["delta"] for chunk in chunks if chunk.get("choices"))
        return "".join(delta.get("content") or "" for delta in deltas).strip()

    @property
    def succeeded(self) -> bool:
        """Whether it is whole and no error."""
        whole = not self.body.startswith("data: ") or self.body.rstrip().endswith("data: [DONE]")
        return self.status == requests.codes.ok and not self.broken and whole


@dataclass
class Load:
    """Clients that ask without a pause until they are told to stop."""

    answers: list[Answer] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, customer: Customer, *, stream: bool) -> None:
        """Be one client."""
        for prompt in itertools.cycle(PROMPTS):
            if self._stopped.is_set():
                return
            self.answers.append(customer.ask(prompt, stream=stream))

    def stop(self) -> None:
        """Let every client end after the answer that it waits for."""
        self._stopped.set()

    def failures(self) -> list[Answer]:
        """Answers that did not succeed."""
        return [each for each in self.answers if not each.succeeded]


@contextlib.contextmanager
def load(customers: Mapping[str, Customer]) -> Iterator[Load]:
    """Let each customer ask with one client for whole answers and one for streams."""
    running = Load()
    clients = [
        threading.Thread(target=running.run, args=(customer,), kwargs={"stream": stream})
        for customer in customers.values()
        for stream in (False, True)
    ]
    for each in clients:
        each.start()
    try:
        yield running
    finally:
        running.stop()
        for each in clients:
            each.join()
