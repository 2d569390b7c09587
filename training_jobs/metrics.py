"""Is an answer right? Pure functions, one a metric."""

import re
from collections.abc import Callable, Mapping

from training_jobs.errors import JobInputError

# `aws.<service>.<Class>(`: the first resource that an answer names.
_RESOURCE = re.compile(r"\baws\.([a-z0-9_]+)\.([A-Z][A-Za-z0-9]*)")

Score = Mapping[str, float]
"""Name of a figure to 0 or 1; `right` is the one that the gate looks at."""


def aws_service(answer: str, expected: str) -> Score:
    """Right service of the first resource; `exact_class`: the right class as well."""
    found, wanted = _RESOURCE.search(answer), _RESOURCE.search(expected)
    if wanted is None:
        raise JobInputError(f"the expected answer names no resource: {expected[:60]!r}")
    if found is None:
        return {"right": 0.0, "exact_class": 0.0}
    return {
        "right": float(found[1] == wanted[1]),
        "exact_class": float(found.groups() == wanted.groups()),
    }


def java_exact(answer: str, expected: str) -> Score:
    """The same text after whitespace is normalised."""
    return {"right": float(" ".join(answer.split()) == " ".join(expected.split()))}


METRICS: Mapping[str, Callable[[str, str], Score]] = {
    "aws_service": aws_service,
    "java_exact": java_exact,
}


def mean_scores(scores: list[Score]) -> dict[str, float]:
    """Mean of each figure over the rows."""
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
