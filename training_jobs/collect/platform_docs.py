"""Collect `platform-docs`: documentation -> code pairs from the docstrings of `pulumi_aws`.

Input: what the documentation says in one sentence, with the section heading of the example, without
the class name. Output: the call that makes the resource (imports and its dependencies left out).
"""

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training_jobs.collect.docstrings import Example, read_package
from training_jobs.collect.output import write_dataset
from training_jobs.errors import JobInputError
from training_jobs.pairs import Pair, normalised

HELD_OUT_ROWS = 100
HELD_OUT_UNSEEN_SERVICES = 50
LARGEST_UNSEEN_SERVICE = 8
CLASSES_PER_ROUND = 8
MAX_OUTPUT_CHARACTERS = 4000

_GENERIC_HEADING = re.compile(r"(?:basic |example )*(?:usage|example|basic)", re.IGNORECASE)
# Words that say nothing about which resource is meant.
_FILLER = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "for",
        "to",
        "and",
        "or",
        "in",
        "with",
        "your",
        "you",
        "this",
        "that",
        "is",
        "are",
        "be",
        "which",
        "use",
        "used",
        "using",
        "resource",
        "resources",
        "provides",
        "provide",
        "manages",
        "manage",
        "managing",
        "management",
        "creates",
        "create",
        "aws",
        "amazon",
        "data",
        "source",
        "get",
        "information",
        "about",
        "retrieve",
        "service",
        "services",
        "it",
        "as",
        "by",
        "on",
        "from",
    ]
)
_WORD = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Row:
    """A pair with what the split needs to know."""

    pair: Pair
    service: str
    name: str
    is_resource: bool

    @property
    def path(self) -> str:
        """`aws.sqs.Queue`."""
        return f"aws.{self.service}.{self.name}"


def prompt_of(example: Example) -> str:
    """The input: sentence and telling heading, every word that contains the class name removed."""
    text = example.sentence
    heading = example.heading.replace("`", "").strip()
    if heading and not _GENERIC_HEADING.fullmatch(heading):
        text = f"{text.rstrip('.')}. {heading}."
    name = example.name.lower()
    return " ".join(word for word in text.split() if name not in word.lower())


def rejection(example: Example, prompt: str) -> str | None:
    """Why an example is no training pair, or None."""
    if not example.code:
        return "the example has no call of the documented class, or does not parse"
    if not example.service:
        return "a function of the package root belongs to no service"
    if len(example.code) > MAX_OUTPUT_CHARACTERS:
        return f"the call is over {MAX_OUTPUT_CHARACTERS} characters"
    if not {word.lower() for word in _WORD.findall(prompt)} - _FILLER:
        return "without the class name the sentence says nothing"
    return None


def to_rows(examples: Iterable[Example]) -> tuple[list[Row], Counter[str]]:
    """Pairs with distinct inputs, and the count of what was rejected by reason."""
    rows: dict[str, Row] = {}
    rejected: Counter[str] = Counter()
    for example in examples:
        prompt = prompt_of(example)
        reason = rejection(example, prompt)
        if reason is None and normalised(prompt) in rows:
            reason = "another example has the same input"
        if reason is not None:
            rejected[reason] += 1
            continue
        pair = Pair(prompt, example.code)
        rows[normalised(prompt)] = Row(pair, example.service, example.name, example.is_resource)
    return list(rows.values()), rejected


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows.

    Half of the held-out classes belong to services of which training has no row at all, so that
    copying the answer of a similar prompt cannot help there; the other half are unseen classes of
    services that training knows. No training row mentions a held-out class.
    """
    first = _first_of_class(rows)
    classes_of: dict[str, list[str]] = defaultdict(list)
    for path in sorted(first, key=_hash):
        classes_of[first[path].service].append(path)
    unseen_services: set[str] = set()
    held: list[str] = []
    for service in sorted(classes_of, key=_hash):
        if (
            len(held) < HELD_OUT_UNSEEN_SERVICES
            and len(classes_of[service]) <= LARGEST_UNSEEN_SERVICE
        ):
            unseen_services.add(service)
            held += classes_of[service][: min(2, HELD_OUT_UNSEEN_SERVICES - len(held))]
    seen = [path for path in sorted(first, key=_hash) if first[path].service not in unseen_services]
    held += seen[: HELD_OUT_ROWS - len(held)]
    # The choice above took the lowest hashes of each half; the hashes of the inputs mix the halves,
    # so that the first rows are a sample of both.
    held_out = sorted((first[path] for path in held), key=lambda row: _hash(row.pair.input))
    mentioned = re.compile("|".join(rf"\b{re.escape(path)}\b" for path in held))
    train = [
        row
        for row in rows
        if row.service not in unseen_services and not mentioned.search(row.pair.output)
    ]
    return order(train), held_out


def order(rows: Sequence[Row]) -> list[Row]:
    """Breadth first: a training run that reads less than everything sees the most services.

    The shortest example of each resource class comes first, at most CLASSES_PER_ROUND classes of a
    service before the next round; then lookup functions and further examples.
    """
    first = _first_of_class(sorted(rows, key=lambda row: (len(row.pair.output), row.pair.input)))
    rounds: dict[str, int] = {}
    taken: Counter[str] = Counter()
    for path in sorted(first, key=_hash):
        rounds[path] = taken[first[path].service] // CLASSES_PER_ROUND
        taken[first[path].service] += 1
    leading = {first[path].pair.input for path in first}

    def key(row: Row) -> tuple[int, int, str]:
        if row.pair.input in leading:
            return 0, rounds[row.path], _hash(row.pair.input)
        return 1, 0, _hash(row.pair.input)

    return sorted(rows, key=key)


def _first_of_class(rows: Iterable[Row]) -> dict[str, Row]:
    first: dict[str, Row] = {}
    for row in rows:
        if row.is_resource:
            first.setdefault(row.path, row)
    return first


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def default_package_dir() -> Path:
    """Where the infrastructure environment of the project has `pulumi_aws`.

    Raises:
        JobInputError: It is not installed there.
    """
    root = Path(__file__).resolve().parents[2]
    for path in sorted((root / ".venv").glob("lib/python3*/site-packages/pulumi_aws")):
        return path
    raise JobInputError(
        f"{root / '.venv'}: pulumi_aws is not installed: install requirements.txt "
        "or pass --package-dir"
    )


def package_version(package: Path) -> str:
    """Version from the distribution's metadata folder beside the package, or "unknown"."""
    for path in sorted(package.parent.glob("pulumi_aws-*.dist-info")):
        return path.name.removeprefix("pulumi_aws-").removesuffix(".dist-info")
    return "unknown"


def collect(out: Path, package: Path) -> dict[str, object]:
    """Read the package and write the dataset. Returns its report.

    Raises:
        JobInputError: `package` is no `pulumi_aws`, or has too few examples to hold 100 out.
    """
    _say(f"reading docstrings below {package} (about 20 s)")
    rows, rejected = to_rows(read_package(package))
    train, held_out = split(rows)
    if len(held_out) < HELD_OUT_ROWS:
        raise JobInputError(
            f"{package}: {len(held_out)} resource classes with examples can be held out, "
            f"{HELD_OUT_ROWS} are needed: is this a complete pulumi_aws?"
        )
    seen = {row.service for row in train}
    report = {
        "domain": "platform-docs",
        "source": f"docstrings of pulumi_aws {package_version(package)}",
        "synthetic": False,
        "collected": len(rows),
        "resource_classes": len(_first_of_class(rows)),
        "rejected": dict(rejected),
        "split_rule": (
            "held-out: one example each of 100 resource classes that no training row mentions; "
            f"{sum(row.service not in seen for row in held_out)} of them belong to services "
            "without any training row; rows of those services that are not held out are dropped"
        ),
    }
    return write_dataset(out, [r.pair for r in train], [r.pair for r in held_out], report)


def _say(message: str) -> None:
    sys.stderr.write(f"collect platform-docs: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Write the dataset; exit 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="training_jobs.collect.platform_docs", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the dataset")
    parser.add_argument("--package-dir", type=Path, help="the pulumi_aws package (default: .venv)")
    options = parser.parse_args(argv)
    try:
        report = collect(options.out, options.package_dir or default_package_dir())
    except JobInputError as error:
        _say(f"error: {error}")
        return 2
    _say(f"{report['collected']} pairs; {options.out}: {report['digests']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
