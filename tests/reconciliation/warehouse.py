"""A warehouse as routers, shippers and the sampler would leave it, and servers that count."""

import datetime as dt
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from registry import documents
from registry.store import ObjectStore, open_store
from serving.reconciliation.config import ReconciliationConfig
from serving.reconciliation.reconcile import reconcile
from serving.reconciliation.report import Report
from serving.reconciliation.samples import Sample, ServerSample, write_sample
from serving.warehouse import layout
from serving.warehouse.columns import EVENTS, ORPHANS
from serving.warehouse.layout import day_folder, shipped_key, writer_key
from serving.warehouse.progress import OpenRequest, nothing_shipped
from serving.warehouse.writers import taken_over

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
BOOT = NOON - dt.timedelta(days=1)
MODEL_LEN = 2048


def at(seconds: float) -> dt.datetime:
    """A time after noon."""
    return NOON + dt.timedelta(seconds=seconds)


@dataclass
class Server:
    """The counters of one model server, as vLLM would have them."""

    name: str = "127.0.0.1:8082"
    started: dt.datetime = BOOT
    # It has a past: only growth must count.
    counters: dict[str, int] = field(
        default_factory=lambda: {
            "requests": 1000,
            "prompt_tokens": 70_000,
            "generation_tokens": 30_000,
            "further_answers": 0,
        }
    )

    def count(self, requests: int = 1, prompt: int = 0, generation: int = 0) -> None:
        self.counters["requests"] += requests
        self.counters["prompt_tokens"] += prompt
        self.counters["generation_tokens"] += generation

    def restart(self, moment: dt.datetime) -> None:
        self.started = moment
        self.counters = dict.fromkeys(self.counters, 0)


@dataclass
class Warehouse:
    """Collects rows, and writes them when a report is asked for."""

    directory: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    orphans: list[dict[str, Any]] = field(default_factory=list)
    open: list[OpenRequest] = field(default_factory=list)
    shipped_until: dt.datetime = NOON + dt.timedelta(days=1)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"file://{self.directory}/warehouse"

    @property
    def store(self) -> ObjectStore:
        return open_store(self.uri)

    @property
    def config(self) -> ReconciliationConfig:
        source = {
            "kind": "vllm",
            "name": "vllm",
            "url": "http://127.0.0.1:8082",
            "pools": ["slm", "llm"],
            "max_model_len": MODEL_LEN,
        }
        values = {"warehouse_uri": self.uri, "sources": [source]} | self.options
        return ReconciliationConfig.model_validate_json(json.dumps(values, default=str))

    def event(self, began: float, ended: float, **fields: Any) -> dict[str, Any]:
        """A request in progress from one second after noon to another."""
        row = dict.fromkeys(EVENTS) | {
            "request_id": str(uuid.uuid4()),
            "admitted": at(began),
            "ended": at(ended),
            "customer": "customer-bank-A",
            "domain": "bank-ledger",
            "served_model": "bank-ledger-v1.0",
            "pool": "slm",
            "status": 200,
            "attempts": 1,
            "input_tokens": 10,
            "output_tokens": 5,
            "writer": "router-0",
        }
        self.events.append(row | fields)
        return self.events[-1]

    def leave_open(self, began: float) -> None:
        """A request whose end was not shipped."""
        self.open.append(
            OpenRequest(
                request_id=uuid.uuid4().hex,
                admitted=at(began),
                customer="customer-bank-A",
                domain="bank-ledger",
                version="v1.0",
                served_model="bank-ledger-v1.0",
                pool="slm",
                experiment=None,
                stream=False,
            )
        )

    def orphan(self, began: float, **fields: Any) -> None:
        row = dict.fromkeys(ORPHANS) | {
            "request_id": str(uuid.uuid4()),
            "admitted": at(began),
            "customer": "customer-bank-A",
            "pool": "slm",
        }
        self.orphans.append(row | fields)

    def sample(self, moment: float, *servers: Server, source: str = "vllm") -> None:
        """What the sampler writes."""
        found = tuple(
            ServerSample(
                server=server.name,
                ended=at(moment + 0.01),
                up=True,
                started=server.started,
                counters=dict(server.counters),
            )
            for server in servers
        )
        write_sample(self.store, Sample(source=source, at=at(moment), servers=found))

    def report(self, began: float = -1, ended: float = 3600, *, now: float = 86_400) -> Report:
        """Write everything, and compare."""
        self._write(layout.EVENTS, self.events, EVENTS)
        self._write(layout.ORPHANS, self.orphans, ORPHANS)
        self._ship()
        return reconcile(self.config, at(began), at(ended), now=at(now))

    def _ship(self) -> None:
        """What the shipper writes."""
        writer = taken_over(None, "router-0", "1" * 16)
        writer = writer.model_copy(update={"shipped_until": self.shipped_until})
        self.store.put(writer_key(writer.writer), documents.encode(writer))
        progress = nothing_shipped(writer.writer, writer.ledger_id, 1)
        progress = progress.model_copy(update={"open": tuple(self.open)})
        key = shipped_key(progress.writer, progress.ledger_id, progress.segment)
        self.store.put(key, documents.encode(progress))

    def _write(self, prefix: str, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
        if not rows:
            return
        path = self.directory / "rows.parquet"
        lines = self.directory / "rows.json"
        lines.write_text(
            "\n".join(
                json.dumps(row, default=lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S.%f"))
                for row in rows
            )
        )
        with duckdb.connect() as connection:
            connection.read_json(
                str(lines), columns=columns, format="newline_delimited"
            ).write_parquet(str(path))
        day = day_folder(prefix, NOON.date())
        self.store.put_file(f"{day}router-0.parquet", path)


def shares(report: Report, measure: str, source: str = "vllm", scope: str | None = None) -> dict:
    """Cause to amount of one comparison, without causes that took no share."""
    (difference,) = [
        difference
        for comparison in report.comparisons
        if comparison.source == source and scope in {None, comparison.scope}
        for difference in comparison.differences
        if difference.measure == measure
    ]
    found = {each.cause: each.amount for each in difference.attributions if each.amount}
    return found | ({"unknown": difference.unknown} if difference.unknown else {})
