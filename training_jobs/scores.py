"""The figures of one model on the held-out rows."""

from collections.abc import Sequence

from training_jobs.java_compile import failures, java_compiler
from training_jobs.metrics import METRICS, mean_scores


def score_answers(metric: str, expected: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Means of a metric's figures; `java_exact` adds `compiles` where a JDK is present.

    Raises:
        KeyError: There is no such metric.
    """
    score = METRICS[metric]
    pairs = zip(answers, expected, strict=True)
    means = mean_scores([score(answer, wanted) for answer, wanted in pairs])
    compiler = java_compiler()
    if metric == "java_exact" and compiler is not None:
        snippets = [answer.strip().removeprefix("Java:") for answer in answers]
        means["compiles"] = 1 - len(failures(snippets, compiler)) / len(snippets)
    return means
