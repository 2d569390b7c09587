"""Share of right answers on held-out rows through the served endpoint, against two baselines.

Per domain: the live adapter (asked through the edge with the domain's key), the base model (asked
at the engine, where the router's tenancy does not hide it) and the copy baseline (the answer of the
nearest training input). The last line of the output is one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from training_jobs.copy_baseline import nearest_answers
from training_jobs.errors import JobInputError
from training_jobs.openai_client import OpenAIClient
from training_jobs.pairs import Pair, read_pairs
from training_jobs.scores import score_answers


@dataclass(frozen=True)
class Suite:
    """How one domain is measured."""

    domain: str
    metric: str
    max_tokens: int


SUITES = (Suite("platform-docs", "aws_service", 24), Suite("bank-ledger", "java_exact", 64))


@dataclass(frozen=True)
class Endpoints:
    """Where adapter and base are asked."""

    edge_url: str
    model: str
    base_url: str
    base_model: str
    keys: dict[str, str]


def run(
    suite: Suite, endpoints: Endpoints, datasets: Path, rows: int, parallel: int
) -> dict[str, Any]:
    """Measure one domain.

    Raises:
        JobInputError: The dataset is not there.
        httpx.HTTPError: An endpoint refuses or does not answer.
    """
    folder = datasets / suite.domain
    train = read_pairs(folder / "train.jsonl")
    held_out = read_pairs(folder / "heldout.jsonl")[:rows]
    headers = {
        "Authorization": f"Bearer {endpoints.keys[suite.domain]}",
        "X-Customer-Domain": suite.domain,
    }
    began = time.monotonic()
    adapter = _ask(
        suite,
        OpenAIClient(endpoints.edge_url, headers=headers),
        endpoints.model,
        held_out,
        parallel,
        "adapter",
    )
    seconds = time.monotonic() - began
    base = _ask(
        suite, OpenAIClient(endpoints.base_url), endpoints.base_model, held_out, parallel, "base"
    )
    copied = nearest_answers(
        [pair.input for pair in train],
        [pair.output for pair in train],
        [pair.input for pair in held_out],
    )
    expected = [pair.output for pair in held_out]
    return summary(
        len(held_out),
        seconds,
        {
            "adapter": score_answers(suite.metric, expected, adapter),
            "base": score_answers(suite.metric, expected, base),
            "copy_baseline": score_answers(suite.metric, expected, copied),
        },
    )


def summary(n: int, seconds: float, scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The domain's part of the result: shares right, and the figures beside them."""
    result: dict[str, Any] = {name: score["right"] for name, score in scores.items()}
    for name, score in scores.items():
        for figure, value in score.items():
            if figure != "right":
                result[f"{name}_{figure}"] = round(value, 4)
    return {**result, "n": n, "adapter_seconds": round(seconds, 1)}


def _ask(
    suite: Suite, client: OpenAIClient, model: str, rows: Sequence[Pair], parallel: int, who: str
) -> list[str]:
    count = 0

    def one_more() -> None:
        nonlocal count
        count += 1
        sys.stderr.write(f"\r{suite.domain} {who}: {count}/{len(rows)}")

    answers = client.answers(
        model,
        [pair.input for pair in rows],
        max_tokens=suite.max_tokens,
        parallel=parallel,
        on_answer=one_more,
    )
    sys.stderr.write("\n")
    return answers


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.quality", description=__doc__)
    parser.add_argument("--edge-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", default="slm", help="model name sent through the edge")
    parser.add_argument("--base-url", default="http://127.0.0.1:8082/v1", help="the engine itself")
    parser.add_argument("--base-model", default="llama-8b", help="the engine's name of the base")
    parser.add_argument("--datasets", type=Path, default=Path(".local/datasets"))
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=16, help="requests in flight")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="DOMAIN=KEY",
        help="domain key, once for each domain to measure",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure every domain that has a key; exit 2 on bad options, 1 on an endpoint that fails."""
    options = _options(argv)
    keys = dict(key.split("=", 1) for key in options.key if "=" in key)
    suites = [suite for suite in SUITES if suite.domain in keys]
    if not suites:
        names = ", ".join(suite.domain for suite in SUITES)
        sys.stderr.write(f"give --key DOMAIN=KEY for at least one of: {names}\n")
        return 2
    endpoints = Endpoints(
        options.edge_url, options.model, options.base_url, options.base_model, keys
    )
    result = {}
    for suite in suites:
        try:
            result[suite.domain] = run(
                suite, endpoints, options.datasets, options.rows, options.parallel
            )
        except JobInputError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except httpx.HTTPError as error:
            sys.stderr.write(f"{suite.domain}: {type(error).__name__}: {error}\n")
            return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
