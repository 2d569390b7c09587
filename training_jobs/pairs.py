"""Input/output pairs in JSONL: read strictly, every complaint names file and line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.digests import file_digest
from training_jobs.errors import JobInputError

_SHOWN = 60


@dataclass(frozen=True)
class Pair:
    """One pair in the guide's format."""

    input: str
    output: str
    line: int = 0
    """Line of the file it was read from, from 1; 0 for one that no file holds yet."""


def read_pairs(path: Path) -> list[Pair]:
    """Read a dataset file.

    Raises:
        JobInputError: It is missing, empty or not UTF-8, a line is not a JSON object with the two
            texts `input` and `output`, or a pair occurs twice.
    """
    pairs = [_parse(path, number, line) for number, line in _lines(path)]
    if not pairs:
        raise JobInputError(f"{path}: no pairs: one JSON object with input and output a line")
    _refuse_duplicates(path, pairs)
    return pairs


def refuse_other_digest(path: Path, expected: str) -> None:
    """Check a dataset file against the digest that the stack names.

    Raises:
        JobInputError: It is missing, or another file.
    """
    try:
        found = file_digest(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != expected:
        raise JobInputError(
            f"{path}: its digest is {found}, the stack's configuration says {expected}: "
            "restore the file, or set the digest (that is new training data, so a new version)"
        )


def refuse_long_rows(path: Path, pairs: Sequence[Pair], lengths: Sequence[int], limit: int) -> None:
    """Check token counts of prompt and answer together.

    Raises:
        JobInputError: A row is longer than the limit.
    """
    for pair, length in zip(pairs, lengths, strict=True):
        if length > limit:
            raise JobInputError(
                f"{path}:{pair.line}: {length} tokens, max_seq_length is {limit}: "
                "shorten the pair or raise max_seq_length"
            )


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    lines = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise JobInputError(f"{path}:{number}: not UTF-8: {error.reason}") from error
        if line.strip():
            lines.append((number, line))
    return lines


def _parse(path: Path, number: int, line: str) -> Pair:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise JobInputError(
            f"{path}:{number}: not JSON ({error.msg} at column {error.colno}): {_short(line)}"
        ) from error
    if not isinstance(row, dict):
        raise JobInputError(f"{path}:{number}: not a JSON object: {_short(line)}")
    for key in ("input", "output"):
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise JobInputError(f"{path}:{number}: no text under {key!r}: {_short(line)}")
    return Pair(row["input"], row["output"], number)


def _refuse_duplicates(path: Path, pairs: Sequence[Pair]) -> None:
    seen: dict[str, int] = {}
    for pair in pairs:
        key = normalised(pair.input)
        if key in seen:
            raise JobInputError(
                f"{path}:{pair.line}: the input is that of line {seen[key]} again: remove one"
            )
        seen[key] = pair.line


def normalised(text: str) -> str:
    """A text without the differences that do not make another example."""
    return " ".join(text.split()).casefold()


def _unreadable(path: Path, error: OSError) -> JobInputError:
    return JobInputError(
        f"{path}: {error.strerror}: check `dataset.uri` and `dataset.heldout_uri` of the stack"
    )


def _short(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
