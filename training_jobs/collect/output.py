"""What every collector writes: two JSONL files, a report with their digests, a README."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training_jobs.errors import JobInputError
from training_jobs.pairs import Pair

TRAIN, HELD_OUT, REPORT, README = "train.jsonl", "heldout.jsonl", "report.json", "README.md"


def to_jsonl(pairs: Sequence[Pair]) -> bytes:
    """One `{"input": …, "output": …}` object a line, UTF-8, always the same bytes."""
    lines = [
        json.dumps({"input": pair.input, "output": pair.output}, ensure_ascii=False) + "\n"
        for pair in pairs
    ]
    return "".join(lines).encode()


def digest(data: bytes) -> str:
    """`sha256:<hex>` of the bytes of a dataset file."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_dataset(
    out: Path, train: Sequence[Pair], held_out: Sequence[Pair], report: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all files; `out` appears whole or not at all. Returns the complete report.

    Raises:
        JobInputError: `out` exists and is no dataset: it would be replaced whole.
    """
    if out.exists() and not (out / REPORT).is_file():
        raise JobInputError(
            f"{out} exists and holds no {REPORT}: a dataset replaces its folder whole, "
            "so name a new one"
        )
    files = {TRAIN: to_jsonl(train), HELD_OUT: to_jsonl(held_out)}
    complete = {
        **report,
        "rows": {TRAIN: len(train), HELD_OUT: len(held_out)},
        "digests": {name: digest(data) for name, data in files.items()},
    }
    files[REPORT] = (json.dumps(complete, indent=2, sort_keys=True) + "\n").encode()
    files[README] = _readme(complete).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, data in files.items():
            with (partial / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return complete


def _readme(report: Mapping[str, Any]) -> str:
    kind = "Synthetic data: generated, not taken from real programs." if report["synthetic"] else ""
    rows = report["rows"]
    parts = (
        f"# Dataset {report['domain']}",
        kind,
        f"Source: {report['source']}.",
        f"{rows[TRAIN]} training rows and {rows[HELD_OUT]} held-out rows, "
        'one `{"input": …, "output": …}` object a line.',
        f"Split: {report['split_rule']}.",
        f"Digests and rejected examples: `{REPORT}`.",
    )
    return "\n\n".join(part for part in parts if part) + "\n"
