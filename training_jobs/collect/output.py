"""What every collector writes: two JSONL files, a report, and their digests."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAIN, HELD_OUT, REPORT = "train.jsonl", "heldout.jsonl", "report.json"


@dataclass(frozen=True)
class Pair:
    """One reviewed pair in the guide's format."""

    input: str
    output: str


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
    """Write the three files; `out` appears whole or not at all. Returns the complete report."""
    files = {TRAIN: to_jsonl(train), HELD_OUT: to_jsonl(held_out)}
    complete = {
        **report,
        "rows": {TRAIN: len(train), HELD_OUT: len(held_out)},
        "digests": {name: digest(data) for name, data in files.items()},
    }
    files[REPORT] = (json.dumps(complete, indent=2, sort_keys=True) + "\n").encode()
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
