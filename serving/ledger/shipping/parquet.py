"""Rows to Parquet files, one for each day, with little memory: rows wait on the disk."""

import datetime as dt
import json
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from serving.ledger.shipping.rows import Row
from serving.warehouse.duck import session

# A shipper lives beside a router: it takes little of its machine.
_THREADS: Final = 1
_MEMORY_LIMIT: Final = "256MB"


class DayFiles:
    """Collects rows by day; a context manager that removes its files when it ends."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """Start empty.

        Args:
            columns: DuckDB types by name, as in `serving.warehouse.columns`.
        """
        self._columns = dict(columns)
        self._stack = ExitStack()
        self._files: dict[dt.date, BinaryIO] = {}
        self._crcs: defaultdict[dt.date, int] = defaultdict(int)

    def __enter__(self) -> Self:
        scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="shipper-"))
        self._directory = Path(scratch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, day: dt.date, row: Row) -> None:
        """Take a row."""
        if day not in self._files:
            path = self._directory / f"{day}.json"
            self._files[day] = self._stack.enter_context(path.open("wb"))
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        self._files[day].write(line)
        self._crcs[day] = zlib.crc32(line, self._crcs[day])

    def parquet(self) -> Iterator[tuple[dt.date, int, Path]]:
        """Each day, the CRC-32 of its rows and its Parquet file, oldest first.

        A file is gone when the next one comes.
        """
        for day, rows in sorted(self._files.items()):
            rows.flush()
            target = self._directory / f"{day}.parquet"
            _convert(Path(rows.name), target, self._columns)
            yield day, self._crcs[day], target
            target.unlink()


def _convert(source: Path, target: Path, columns: dict[str, str]) -> None:
    scratch = target.parent
    with session(scratch, threads=_THREADS, memory_limit=_MEMORY_LIMIT) as (connection, _):
        rows = connection.read_json(str(source), columns=columns, format="newline_delimited")
        rows.write_parquet(str(target), compression="zstd")
