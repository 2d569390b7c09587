"""Judge a candidate by the evaluation gate and sign the verdict.

`python -m training_jobs.evaluate --config FILE`. A failed gate is a result. A server that does not
answer, a key that cannot be read, and data files that are not those of the stack, are faults.

The job holds no GPUs of its own. It asks the servers of the pool, beside their customers: that time
is the pool's, reported with its pods and billed to nobody, and so it is not in the job's result.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.evaluation import CheckResult, Evaluation, sign, write_evaluation
from registry.job import run_job
from registry.manifest import read_manifest
from registry.runs import RunReporter
from registry.signing import open_signer
from registry.store import ObjectStore
from registry.traffic import recorded
from training_jobs.copy_baseline import nearest_answers
from training_jobs.evaluate_config import NOT_IMPLEMENTED, EvaluateConfig
from training_jobs.openai_client import OpenAIClient
from training_jobs.pairs import Pair, normalised, read_pairs, refuse_other_digest
from training_jobs.scores import score_answers

_ROUNDING = 1e-9


@dataclass(frozen=True)
class DomainScores:
    """Shares of right answers on the held-out rows."""

    adapter: dict[str, float]
    base: dict[str, float]
    live: dict[str, float] | None
    copy_baseline: dict[str, float]
    rows: int


def judge(scores: DomainScores, *, margin: float, contaminated: int) -> CheckResult:
    """The domain test: better than the base and not worse than the live release, by the margin."""
    adapter, base = scores.adapter["right"], scores.base["right"]
    reasons = []
    if contaminated:
        reasons.append(f"{contaminated} held-out inputs occur in the training data")
    # Shares of small numbers of rows: a win by exactly the margin is a win in binary as well.
    if adapter < base + margin - _ROUNDING:
        reasons.append(f"{adapter:.2f} is not better than the base ({base:.2f}) by {margin}")
    if scores.live is not None and adapter < scores.live["right"] - margin - _ROUNDING:
        reasons.append(f"{adapter:.2f} is worse than the live release ({scores.live['right']:.2f})")
    extra = {name: value for name, value in scores.adapter.items() if name != "right"}
    return CheckResult(
        name="domain_test",
        status="failed" if reasons else "passed",
        score=adapter,
        threshold=base + margin,
        reason="; ".join(reasons),
        detail={
            "adapter": adapter,
            "base": base,
            "live": scores.live["right"] if scores.live else None,
            "copy_baseline": scores.copy_baseline["right"],
            "n": scores.rows,
            **extra,
        },
    )


def measure(config: EvaluateConfig, client: OpenAIClient, reporter: RunReporter) -> CheckResult:
    """Ask candidate, base and live release the held-out rows, and judge.

    Raises:
        JobInputError: The dataset files are not readable, or not those that the stack names.
        TimeoutError: The candidate is not served in time.
        httpx.HTTPError: The server does not answer.
    """
    refuse_other_digest(config.train_path, config.train_digest)
    refuse_other_digest(config.heldout_path, config.heldout_digest)
    train = read_pairs(config.train_path)
    rows = read_pairs(config.heldout_path)[: config.rows]
    names = config.asked_names
    reporter.progress(message=f"waiting for {config.served_name} to be loaded")
    client.wait_for(config.served_name, timeout_s=config.ready_timeout_s)
    done = _Counter(reporter, total=len(rows) * len(names))
    questions = [pair.input for pair in rows]

    def ask(name: str) -> list[str]:
        return client.answers(
            name, questions, max_tokens=config.max_tokens, on_answer=done.one_more
        )

    # All at once: the server's batches stay full to the end.
    with ThreadPoolExecutor(len(names)) as pool:
        answers = dict(zip(names, pool.map(ask, names), strict=True))
    scores = DomainScores(
        adapter=_score(config, rows, answers[config.served_name]),
        base=_score(config, rows, answers[config.base_name]),
        live=_score(config, rows, answers[config.live_name]) if config.live_name else None,
        copy_baseline=_score(
            config,
            rows,
            nearest_answers([p.input for p in train], [p.output for p in train], questions),
        ),
        rows=len(rows),
    )
    known = {normalised(pair.input) for pair in train}
    contaminated = sum(normalised(pair.input) in known for pair in rows)
    return judge(scores, margin=config.margin, contaminated=contaminated)


class _Counter:
    """Counts answers of many threads into one progress line."""

    def __init__(self, reporter: RunReporter, *, total: int) -> None:
        self._reporter = reporter
        self._total = total
        self._count = 0
        self._lock = threading.Lock()

    def one_more(self) -> None:
        with self._lock:
            self._count += 1
            self._reporter.progress(
                step=min(self._count, self._total - 1),
                total=self._total,
                message="held-out answers",
            )


def _score(
    config: EvaluateConfig, rows: Sequence[Pair], answers: Sequence[str]
) -> dict[str, float]:
    return score_answers(config.metric, [row.output for row in rows], answers)


def verdict(config: EvaluateConfig, bundle_digest: str, domain_test: CheckResult) -> Evaluation:
    """The signed verdict: the domain test, and the other checks of the gate.

    A check that the stack did not switch off and that this version cannot run has failed.

    Raises:
        RegistryError: The key cannot be read.
    """
    evaluation = Evaluation(
        domain=config.domain,
        version=config.version,
        bundle_digest=bundle_digest,
        gate_digest=config.gate_digest,
        checks=(domain_test, *(_not_run(name, config.off.get(name)) for name in NOT_IMPLEMENTED)),
        created_at=datetime.now(UTC),
    )
    return sign(evaluation, open_signer(config.evaluation_key))


def _not_run(name: str, reason: str | None) -> CheckResult:
    if reason is None:
        return CheckResult(
            name=name,
            status="failed",
            reason="this version cannot run it: give a reason under gate.not_applicable",
        )
    return CheckResult(name=name, status="not-applicable", reason=reason)


def _main(config: EvaluateConfig, store: ObjectStore, reporter: RunReporter) -> None:
    """Measure, sign, record."""
    manifest = read_manifest(store, config.domain, config.version)
    client = OpenAIClient(config.openai_url)
    planned = config.rows * len(config.asked_names)
    with recorded(
        store, reporter.traffic_key, config.run_id, planned=planned, asked=lambda: client.asked
    ):
        domain_test = measure(config, client, reporter)
    stored = write_evaluation(store, verdict(config, manifest.bundle_digest, domain_test))
    reporter.succeeded(
        {
            "status": "passed" if stored.passed else "failed",
            **stored.checks[0].detail,
            "metrics": {"gpus": 0},
        }
    )


if __name__ == "__main__":
    run_job(EvaluateConfig, _main)
