"""Runs of jobs: progress for people, results for the release state machine.

A run is named by the hash of what it depends on (see `registry.release.run_id`). Its result is
created once; a job that finds one has nothing to do.
"""

import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from registry import documents, layout
from registry.digests import file_digest
from registry.documents import Document
from registry.errors import NotFoundError, PreconditionFailedError
from registry.store import ObjectStore

_REPORT_INTERVAL_S = 1.0


class RunStatus(Document):
    """Where a run is. `running` with an old `updated_at` is a run that was lost."""

    schema_version: Literal[1] = 1
    run_id: str
    state: Literal["running", "failed", "succeeded"]
    starts: int
    """How often the job was started, this time included."""
    failures: int
    """How often it reported an infrastructure fault."""
    step: int = 0
    total: int = 0
    message: str = ""
    loss: float | None = None
    eta_s: float | None = None
    host: str
    pid: int
    started_at: datetime
    updated_at: datetime


class RunResult(Document):
    """What a run found; the meaning of `result` belongs to the job."""

    schema_version: Literal[1] = 1
    run_id: str
    verdict: Literal["ok", "refused"]
    """`refused`: the job ran and its inputs are not acceptable (reason in `result["reason"]`)."""
    customer: str | None = None
    """Who is billed for the run; None for jobs that nobody is."""
    result: dict[str, Any]
    created_at: datetime


class RunReporter:
    """A job's line to the registry. Create it when work begins: that counts the start."""

    def __init__(
        self, store: ObjectStore, domain: str, run_id: str, *, customer: str | None = None
    ) -> None:
        self._store = store
        self._customer = customer
        self._domain = domain
        previous = read_status(store, domain, run_id)
        now = datetime.now(UTC)
        self._status = RunStatus(
            run_id=run_id,
            state="running",
            starts=(previous.starts if previous else 0) + 1,
            failures=previous.failures if previous else 0,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=now,
            updated_at=now,
        )
        self._last_report = 0.0
        self._write()

    @property
    def traffic_key(self) -> str:
        """Where this start of the run notes what it asks of model servers."""
        return layout.run_traffic(self._domain, self._status.run_id, self._status.starts)

    def progress(
        self,
        *,
        step: int = 0,
        total: int = 0,
        message: str = "",
        loss: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """Report progress; calls closer than a second apart are dropped, the last step never is."""
        now = time.monotonic()
        if now - self._last_report < _REPORT_INTERVAL_S and step < total:
            return
        self._last_report = now
        self._update(step=step, total=total, message=message, loss=loss, eta_s=eta_s)

    def failed(self, reason: str) -> None:
        """Report an infrastructure fault; the run may be attempted again."""
        self._update(state="failed", message=reason, failures=self._status.failures + 1)

    def refused(self, reason: str, **details: Any) -> RunResult:
        """Store that the inputs are not acceptable: a result, so the run is not repeated."""
        return self._finish("refused", {"reason": reason, **details})

    def succeeded(self, result: dict[str, Any]) -> RunResult:
        """Store the result. When another attempt was faster, its result stands and is returned."""
        return self._finish("ok", result)

    def _finish(self, verdict: Literal["ok", "refused"], result: dict[str, Any]) -> RunResult:
        document = RunResult(
            run_id=self._status.run_id,
            verdict=verdict,
            customer=self._customer,
            result=result,
            created_at=datetime.now(UTC),
        )
        key = layout.run_result(self._domain, document.run_id)
        try:
            self._store.put(key, documents.encode(document), if_none_match=True)
        except PreconditionFailedError:
            document = documents.read(self._store, key, RunResult)[0]
        self._update(state="succeeded", message=str(document.result.get("reason", "done")))
        return document

    def _update(self, **changes: Any) -> None:
        self._status = self._status.model_copy(update={**changes, "updated_at": datetime.now(UTC)})
        self._write()

    def _write(self) -> None:
        self._store.put(
            layout.run_status(self._domain, self._status.run_id), documents.encode(self._status)
        )


def read_status(store: ObjectStore, domain: str, run_id: str) -> RunStatus | None:
    """Status of a run; None when it has never started."""
    try:
        return documents.read(store, layout.run_status(domain, run_id), RunStatus)[0]
    except NotFoundError:
        return None


def read_result(store: ObjectStore, domain: str, run_id: str) -> RunResult | None:
    """Result of a run; None when it is not done."""
    try:
        return documents.read(store, layout.run_result(domain, run_id), RunResult)[0]
    except NotFoundError:
        return None


def upload_adapter(store: ObjectStore, domain: str, run_id: str, directory: Path) -> dict[str, str]:
    """Store a trained adapter under its run and return file name to `sha256:<hex>`.

    Call it before `RunReporter.succeeded` and put the returned mapping into the result as `files`:
    the result is the commit, so a crash in between leaves nothing that counts.

    Raises:
        FileNotFoundError: One of the two files is missing.
    """
    files: dict[str, str] = {}
    for name in layout.ADAPTER_FILES:
        path = directory / name
        store.put_file(layout.run_adapter_file(domain, run_id, name), path)
        files[name] = file_digest(path)
    return files
