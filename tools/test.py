"""Run every check and test: `python3 tools/test.py [NAME...]`; called by `make test`.

Which environment runs which tests is the data in `SUITES`. Needs the environments that
tools/bootstrap.py makes, and itself the standard library alone. The suite `cluster` needs more and
runs only when it is named, as `make test-cluster` does.
"""

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".tools" / "reports"


@dataclass(frozen=True)
class Check:
    """A command that must succeed, run in the infrastructure environment."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """The tests that one environment runs; an empty one is not run, and that is said."""

    name: str
    environment: str
    folder: str
    without: tuple[str, ...] = ()
    by_name_only: bool = False


CHECKS = (
    Check("ruff check", (".venv/bin/ruff", "check")),
    Check("ruff format", (".venv/bin/ruff", "format", "--check")),
    Check("mypy", (".venv/bin/mypy",)),
    Check("mypy tools", (".venv/bin/mypy", "tools")),
)
SUITES = (
    Suite(
        "infra",
        ".venv",
        "tests",
        ("tests/serving", "tests/training_jobs/train_env", "tests/cluster"),
    ),
    Suite("serving", ".venv-serving", "tests/serving"),
    Suite("train", ".venv-train", "tests/training_jobs/train_env"),
    Suite(
        "cluster",
        ".venv",
        "tests/cluster",
        ("tests/cluster/test_environment.py",),
        by_name_only=True,
    ),
)


@dataclass(frozen=True)
class Counts:
    """What a test run counted."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )


def read_counts(report: Path) -> Counts:
    """Return the counts in a JUnit XML report; none when it does not exist."""
    if not report.exists():
        return Counts()
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it
    total = Counts()
    for suite in suites:
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Counts(tests - failed - skipped, failed, skipped)
    return total


def has_tests(root: Path, suite: Suite) -> bool:
    """Say whether a suite has a test file of its own."""
    foreign = tuple(root / name for name in suite.without)
    return any(
        not any(folder in path.parents for folder in foreign)
        for path in (root / suite.folder).rglob("test_*.py")
    )


def pytest_argv(suite: Suite, report: Path) -> list[str]:
    """Return the command that runs a suite."""
    ignored = [f"--ignore={name}" for name in suite.without]
    options = [*ignored, f"--junitxml={report}"]
    return [f"{suite.environment}/bin/python", "-m", "pytest", suite.folder, *options]


def _run(name: str, argv: Sequence[str]) -> bool:
    print(f"\n== {name}: {' '.join(argv)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(argv, cwd=ROOT, check=False).returncode
    ending = "ok" if code == 0 else f"FAILED (exit code {code})"
    print(f"== {name}: {ending}, {time.monotonic() - started:.0f} s", flush=True)
    return code == 0


def main(only: Sequence[str]) -> int:
    """Run the named checks and suites, or all; return the exit code."""
    known = [check.name for check in CHECKS] + [suite.name for suite in SUITES]
    unknown = [name for name in only if name not in known]
    if unknown:
        print(f"{unknown[0]}: no such check or suite; they are {', '.join(known)}")
        return 2
    checks = [check for check in CHECKS if not only or check.name in only]
    bad = [check.name for check in checks if not _run(check.name, check.argv)]
    total = Counts()
    for suite in SUITES:
        if suite.name not in only and (only or suite.by_name_only):
            continue
        if not has_tests(ROOT, suite):
            print(f"\n== {suite.name}: no test files, not run")
            continue
        report = REPORTS / f"{suite.name}.xml"
        report.unlink(missing_ok=True)
        if not _run(suite.name, pytest_argv(suite, report)):
            bad.append(suite.name)
        total += read_counts(report)
    print(f"\n{'FAILED: ' + ', '.join(bad) if bad else 'All checks and tests succeeded.'}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
