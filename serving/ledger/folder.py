"""What a ledger's directory holds: segments, its identity, the starts of its writers, their lock.

    segment-0000000007.jsonl   records; names count up and are never used twice
    start-0000000006           a process began to write here, with segment 6 as its first
    ledger-id                  random, made with the directory: another volume has another one, and
                               one that is restored from a snapshot must get another one
    .writer.lock               held by the process that writes

A process makes its start before its first segment, after it took the lock and repaired what the one
before it left. So segments before the newest start never change again, and nothing in them is still
in flight. That is how intents that cannot end any more are known.
"""

import fcntl
import os
import re
import secrets
import time
from pathlib import Path
from typing import Final

_SEGMENT: Final = re.compile(r"segment-(\d{10})\.jsonl")
_START: Final = re.compile(r"start-(\d{10})")
_ID: Final = re.compile(r"[0-9a-f]{16}")
_ID_NAME: Final = "ledger-id"
_LOCK_NAME: Final = ".writer.lock"
# `is_written` holds the lock for an instant: a writer that meets it there tries again.
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.02


class LedgerError(Exception):
    """The ledger cannot be written, or is none."""


def segment_paths(directory: Path) -> list[Path]:
    """Segments of a ledger, oldest first."""
    return sorted(
        path for path in directory.glob("segment-*.jsonl") if _SEGMENT.fullmatch(path.name)
    )


def segment_number(path: Path) -> int:
    """Number in a segment's name."""
    return int(path.name[8:18])


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"segment-{number:010d}.jsonl"


def mark_start(directory: Path, segment: int) -> None:
    """Note, durably, that a process begins to write with this segment as its first."""
    (directory / f"start-{segment:010d}").touch(mode=0o640)
    sync_directory(directory)


def starts(directory: Path) -> list[int]:
    """First segments of the processes that wrote here, oldest first."""
    return sorted(
        int(path.name[6:]) for path in directory.glob("start-*") if _START.fullmatch(path.name)
    )


def ledger_id(directory: Path) -> str | None:
    """Identity of the ledger; None where no process has written yet.

    Raises:
        LedgerError: The file is not one of ours.
    """
    path = directory / _ID_NAME
    try:
        found = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not _ID.fullmatch(found):
        raise LedgerError(
            f"{path}: {found[:40]!r} is not the id of a ledger (16 hex digits): restore the file, "
            "or remove it and the ledger counts as another one"
        )
    return found


def ensure_ledger_id(directory: Path) -> None:
    """Give the ledger its identity, unless it has one. The writer's lock must be held."""
    if ledger_id(directory) is not None:
        return
    replace_file(directory / _ID_NAME, f"{secrets.token_hex(8)}\n".encode())


def take_lock(directory: Path) -> int:
    """Become the writer of a ledger; returns the lock's file descriptor.

    Raises:
        LedgerError: The directory cannot be used, or another process writes to it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise LedgerError(f"ledger directory {directory}: {error.strerror}") from error
    for _ in range(_LOCK_TRIES):
        if _locked(lock, fcntl.LOCK_EX):
            return lock
        time.sleep(_LOCK_PAUSE_S)
    os.close(lock)
    raise LedgerError(
        f"ledger directory {directory} is being written by another process: "
        "every router needs a directory of its own"
    )


def is_written(directory: Path) -> bool:
    """Whether a process holds the writer's lock now."""
    try:
        lock = os.open(directory / _LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _locked(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _locked(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, durably."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
