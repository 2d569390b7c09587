"""DuckDB as everything here uses it: in memory, within bounds, and without the network."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

THREADS: Final = 2
MEMORY_LIMIT: Final = "2GiB"
"""Of DuckDB's own memory; more goes to files. With what DuckDB does not count, and Python, the
process stays below 4 GiB."""


class Session(NamedTuple):
    """A connection, and a folder that is removed with it."""

    connection: duckdb.DuckDBPyConnection
    folder: Path


@contextlib.contextmanager
def session(
    scratch: Path, *, threads: int = THREADS, memory_limit: str = MEMORY_LIMIT
) -> Iterator[Session]:
    """Open an empty database in memory; what does not fit goes to a folder below `scratch`."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="duckdb-") as name:
        folder = Path(name)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": str(folder / "spilled"),
            # Rows have no order here; keeping one costs memory.
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield Session(connection, folder)
