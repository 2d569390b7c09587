"""Group commit: requests that end together share one write and one fdatasync."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from serving.ledger.folder import LedgerError
from serving.ledger.records import Record, encode
from serving.ledger.segments import SegmentFile

_log = logging.getLogger(__name__)

_Waiting = tuple[bytes, "asyncio.Future[None]"]


class LedgerWriter:
    """Appends records from one event loop; a thread of its own writes and syncs them."""

    def __init__(
        self,
        directory: Path,
        *,
        max_segment_bytes: int = 64 * 1024 * 1024,
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        """Open the ledger.

        Args:
            directory: Where the segments are.
            max_segment_bytes: A segment that has reached this size is followed by a new one.
            on_commit: Called from the writing thread with the number of records and the seconds
                that the write and sync took.

        Raises:
            LedgerError: The directory cannot be written, or another process writes to it.
        """
        self._segment = SegmentFile(directory, max_bytes=max_segment_bytes)
        self.repaired_bytes = self._segment.repaired_bytes
        self._loop = asyncio.get_running_loop()
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether the last write reached the disk."""
        return self._error is None

    def append(self, record: Record) -> "asyncio.Future[None]":
        """Queue a record, in order; the future is done when the record is durable.

        It need not be awaited. It fails with LedgerError when the disk refuses the write.
        """
        future = self._loop.create_future()
        # A caller that does not wait must not cause "exception was never retrieved".
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        with self._wake:
            if self._closing:
                future.set_exception(LedgerError("the ledger is closed"))
                return future
            self._waiting.append((encode(record), future))
            self._wake.notify()
        return future

    async def close(self) -> None:
        """Write what is queued and close the segment."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        self._segment.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                batch = list(self._waiting)
                self._waiting.clear()
            if not batch:
                return
            self._commit(batch)

    def _commit(self, batch: list[_Waiting]) -> None:
        started = self._loop.time()
        try:
            self._segment.append(b"".join(line for line, _ in batch))
        except OSError as error:
            _log.error("ledger write of %d records failed: %s", len(batch), error)
            self._error = error
            self._settle(batch, LedgerError(f"ledger write failed: {error.strerror}"))
            return
        self._error = None
        if self._on_commit is not None:
            self._on_commit(len(batch), self._loop.time() - started)
        self._settle(batch, None)

    def _settle(self, batch: list[_Waiting], error: LedgerError | None) -> None:
        def settle() -> None:
            for _, future in batch:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        self._loop.call_soon_threadsafe(settle)
