"""Each role does its own work, in the code that does it, on buckets that refuse all else.

The store is moto's S3. Every request asks the simulator of IAM first, with the policies that the
programs declare.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from registry import approvals, layout, pointer, publish, release_job
from registry.adapter_check import AdapterFacts
from registry.errors import StoreError
from registry.evaluation import (
    CheckResult,
    Evaluation,
    create_key_pair,
    sign,
    write_evaluation,
)
from registry.fetch import fetch
from registry.manifest import Manifest, read_manifest
from registry.names import Version
from registry.observe import observe
from registry.release import Desired
from registry.runs import RunReporter, read_result, upload_adapter
from registry.s3_store import S3Store
from registry.signing import FileSigner
from registry.traffic import Asked, read_traffic, recorded
from registry.verified import read_releasable
from serving.adapter_sync.files import AdapterFiles
from serving.adapter_sync.registry_view import RegistryView
from serving.billing import tasks
from serving.billing.config import BillingConfig
from serving.billing.notes import order_note
from serving.exporter.billing import read_billing
from serving.exporter.gate import read_gate
from serving.ledger import Event, Intent
from serving.ledger.ids import new_request_id
from serving.ledger.shipping.config import ShipperConfig
from serving.ledger.shipping.shipper import Shipper
from serving.ledger.writer import LedgerWriter
from serving.pod_reports.reporter import Reporter
from serving.pod_reports.seen import NodeFacts, SeenPod
from serving.reconciliation.samples import Sample, read_samples, write_sample
from serving.warehouse.missing import missing_files
from stacks.policies.names import Purpose
from stacks.programs.cluster.context import Workload
from tests.iam.caller import GuardedS3
from tests.iam.policies import ACCOUNT, inputs_of, job_role, people_role, workload_role
from tests.iam.test_decisions import DATA, AsRole

DOMAIN, NEIGHBOUR = "bank", "bank-ledger"
VERSION = Version(1, 2)
TRAIN = "train-slm-3f2a9c41b07d"
NOW = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)
PRICES = """
currency: USD
prices:
  - from: 2024-01-01
    pools: {slm: {input: "0.10", cached_input: "0.025", output: "0.40"}}
    runs: {H100: {spot: "2.50", on-demand: "6.00"}}
"""


@dataclass
class Account:
    """Buckets of an environment, and stores that see them as a role does."""

    caller: AsRole
    everything: Any
    """A client that nobody refuses anything."""
    root: Path

    @property
    def public_key(self) -> Path:
        return self.root / "evaluation.pub"

    def store(self, role: str, purpose: Purpose = "registry") -> S3Store:
        return S3Store(ACCOUNT.bucket(purpose), "", self.client(role))

    def client(self, role: str) -> Any:
        made = boto3.client("s3", region_name=ACCOUNT.region)
        GuardedS3(self.caller(role), made, self.everything)
        return made

    def job(self, kind: Any) -> S3Store:
        return self.store(job_role(DOMAIN, kind))

    def workload(self, name: Workload, purpose: Purpose) -> S3Store:
        return self.store(workload_role(name), purpose)

    def keys(self, purpose: Purpose) -> list[str]:
        return S3Store(ACCOUNT.bucket(purpose), "", self.everything).list("")


@pytest.fixture
def account(as_role: AsRole, tmp_path: Path) -> Iterator[Account]:
    create_key_pair(tmp_path / "evaluation.key", tmp_path / "evaluation.pub")
    with mock_aws():
        everything = boto3.client("s3", region_name=ACCOUNT.region)
        for purpose in DATA:
            place: Any = {"LocationConstraint": ACCOUNT.region}
            everything.create_bucket(
                Bucket=ACCOUNT.bucket(purpose), CreateBucketConfiguration=place
            )
        yield Account(as_role, everything, tmp_path)


@pytest.fixture
def live(account: Account, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A version that every step and an approver have brought to be live."""
    _train(account)
    manifest = _publish(account, monkeypatch)
    _evaluate(account)
    for reviewer in ("lead-a", "lead-b"):
        approvals.record(
            account.store(people_role("approve", reviewer)),
            domain=DOMAIN,
            version=VERSION,
            bundle_digest=manifest.bundle_digest,
            reviewer=reviewer,
            verdict="approve",
            comment="",
        )
    _release(account, manifest, generation=0)
    return manifest


def _train(account: Account) -> None:
    store = account.job("train")
    assert read_result(store, DOMAIN, TRAIN) is None
    reporter = RunReporter(store, DOMAIN, TRAIN)
    reporter.progress(step=1, total=1)
    folder = account.root / "trained"
    folder.mkdir()
    for name in layout.ADAPTER_FILES:
        (folder / name).write_text("{}")
    files = upload_adapter(store, DOMAIN, TRAIN, folder)
    held = {"seconds": 3600, "gpus": 1, "gpu_type": "H100", "price_class": "spot"}
    reporter.succeeded({"files": files, "metrics": held})


def _publish(account: Account, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    # What is in the adapter needs PyTorch to check, and is not asked of S3.
    monkeypatch.setattr(publish, "base_linear_modules", lambda _: {})
    monkeypatch.setattr(publish, "check_adapter", lambda *_, **__: AdapterFacts(16, ("q_proj",)))
    source = publish.PoolSource(
        run_id=TRAIN, rank=16, base_model="llama-8b", base_directory=account.root
    )
    config = publish.PublishConfig(
        registry_uri=f"s3://{ACCOUNT.bucket('registry')}",
        domain=DOMAIN,
        version=VERSION,
        run_id="publish-3f2a9c41b07d",
        inputs_digest="sha256:i",
        dataset_digest="sha256:d",
        pools={"slm": source, "llm": None},
    )
    store = account.job("publish")
    reporter = RunReporter(store, DOMAIN, config.run_id)
    manifest = publish.publish(store, config, reporter=reporter)
    # Interrupted and started again, it finds what it wrote.
    assert publish.publish(store, config).bundle_digest == manifest.bundle_digest
    reporter.succeeded({"bundle_digest": manifest.bundle_digest})
    return manifest


def _evaluate(account: Account) -> None:
    store = account.job("evaluate")
    reporter = RunReporter(store, DOMAIN, "evaluate-3f2a9c41b07d")
    manifest = read_manifest(store, DOMAIN, VERSION)
    with recorded(store, reporter.traffic_key, "evaluate-3f2a9c41b07d", planned=1, asked=Asked):
        reporter.progress(step=1, total=1)
    verdict = sign(_verdict(manifest), FileSigner(account.root / "evaluation.key"))
    write_evaluation(store, verdict)
    assert write_evaluation(store, verdict) == verdict
    reporter.succeeded({"status": "passed"})


def _verdict(manifest: Manifest) -> Evaluation:
    return Evaluation(
        domain=DOMAIN,
        version=VERSION,
        bundle_digest=manifest.bundle_digest,
        gate_digest="sha256:g",
        checks=(CheckResult(name="domain_test", status="passed"),),
        created_at=NOW,
    )


def _release(account: Account, manifest: Manifest, *, generation: int) -> None:
    config = release_job.ReleaseConfig(
        registry_uri=f"s3://{ACCOUNT.bucket('registry')}",
        domain=DOMAIN,
        version=VERSION,
        run_id="release-3f2a9c41b07d",
        generation=generation,
        bundle_digest=manifest.bundle_digest,
        gate_digest="sha256:g",
        evaluation_public_key=account.public_key,
        reviewers=("lead-a", "lead-b"),
        approvals_required=2,
    )
    store = account.job("release")
    reporter = RunReporter(store, DOMAIN, config.run_id)
    moved = release_job.release(store, config)
    reporter.succeeded({"live": str(moved.live)})


def test_the_jobs_of_a_domain_bring_a_version_to_life(account: Account, live: Manifest) -> None:
    store = account.workload("router", "registry")
    assert pointer.read_pointer(store, DOMAIN).live == VERSION
    assert read_releasable(store, DOMAIN, VERSION, account.public_key) == live


def test_a_release_replaces_the_pointer_that_it_read(account: Account, live: Manifest) -> None:
    """By hand: back is refused before there is something to go back to, a hold is not lifted."""
    store = account.store(people_role("release"))
    moved = pointer.release(
        store,
        DOMAIN,
        version=Version(1, 3),
        bundle_digest=live.bundle_digest,
        generation=1,
        by="on-call",
    )
    assert moved.generation == 2
    back = pointer.rollback(store, DOMAIN, to=None, by="on-call", reason="worse")
    assert (back.live, back.generation) == (VERSION, 3)
    assert pointer.lift_hold(store, DOMAIN, by="on-call", reason="fixed").hold is None


def test_a_trainer_that_turns_bad_is_refused(account: Account, live: Manifest) -> None:
    store = account.job("train")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: pointer.rollback(store, DOMAIN, to=None, by="x", reason="x"),
        lambda: write_evaluation(store, _verdict(live).model_copy(update={"signature": "x"})),
        lambda: store.put(layout.manifest(DOMAIN, Version(9, 9)), b"{}", if_none_match=True),
        lambda: store.get(layout.run_status(NEIGHBOUR, TRAIN)),
        lambda: store.put(layout.run_status(NEIGHBOUR, TRAIN), b"{}"),
        lambda: store.list(f"runs/{NEIGHBOUR}/"),
        lambda: store.list(""),
    )
    before = account.keys("registry")
    for attempt in attempts:
        with pytest.raises(StoreError, match="AccessDenied"):
            attempt()
    assert account.keys("registry") == before


@pytest.mark.parametrize("kind", ["dataset", "train", "publish", "evaluate"])
def test_a_job_fetches_its_inputs(
    account: Account, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = inputs_of(DOMAIN, kind)
    for uri in uris:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        name = f"{key}model.safetensors" if key.endswith("/") else key
        account.everything.put_object(Bucket=bucket, Key=name, Body=b"x")
    client = account.client(job_role(DOMAIN, kind))
    monkeypatch.setattr("registry.s3_store.boto3.client", lambda _: client)
    fetched = [fetch(uri, account.root / str(number)) for number, uri in enumerate(uris)]
    assert fetched == [1] * len(uris)


def test_the_stack_of_a_domain_reads_what_it_decides_on(account: Account, live: Manifest) -> None:
    """It runs as whoever runs `pulumi`; what it asks is what a release job may read, and runs."""
    desired = Desired(
        domain=DOMAIN,
        version=VERSION,
        dataset="sha256:d",
        training={"slm": "sha256:t"},
        gate="sha256:g",
        approvals_required=2,
    )
    store = S3Store(ACCOUNT.bucket("registry"), "", account.everything)
    seen = observe(
        store, desired, evaluation_public_key=account.public_key, reviewers=("lead-a", "lead-b")
    )
    assert seen.manifest == live
    assert seen.approvals.approved_by == ("lead-a", "lead-b")


def test_adapter_sync_finds_and_brings_adapters(account: Account, live: Manifest) -> None:
    store = account.workload("adapter-sync", "registry")
    view = RegistryView(
        store=store,
        public_key=account.public_key,
        pool="slm",
        include_candidates=True,
        last_good=account.root / "last-good.json",
    )
    (wanted,), refused = view.refresh()
    assert (wanted.version, refused) == (str(VERSION), [])
    files = AdapterFiles(account.root / "adapters", store, "slm")
    with pytest.raises(Exception, match="adapter_model"):
        # The weights of this test are none; all the files were brought before that was seen.
        files.ensure(wanted, served_base="llama-8b")


def test_nothing_released_yet_is_no_error(account: Account) -> None:
    """S3 answers 403 for a pointer that is missing; the list says that it is."""
    for workload in ("router", "exporter", "adapter-sync"):
        store = account.workload(workload, "registry")
        assert pointer.read_pointer(store, DOMAIN).live is None


def test_the_exporter_reads_gates_and_books(account: Account, live: Manifest) -> None:
    _ship(account)
    (gate,) = read_gate(account.workload("exporter", "registry"))
    assert gate.pointer.live == VERSION
    assert [each.bundle_digest for each in gate.evaluations] == [live.bundle_digest]
    _bill(account, NOW, tasks.refresh)
    health = read_billing(account.workload("exporter", "warehouse"))
    assert set(health.shipped) == {"router-0"}
    assert health.closed_until == dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def test_the_shipper_beside_the_router_ships(account: Account) -> None:
    state = _ship(account)
    assert state.last_shipped is not None
    folders = {key.partition("/")[0] for key in account.keys("warehouse")}
    assert folders == {"events", "shipped", "writers"}


def test_reports_and_samples_arrive(account: Account) -> None:
    pod = SeenPod(
        uid="u",
        pod="slm-0",
        pool="slm",
        gpus=1,
        node=NodeFacts("L4", "on-demand"),
        scheduled=NOW - dt.timedelta(hours=1),
        finished=None,
    )

    class Cluster:
        def pods(self) -> tuple[SeenPod, ...]:
            return (pod,)

    reporter = Reporter(Cluster(), account.workload("pod-reports", "warehouse"), "cluster")
    reporter.look(NOW)
    reporter.look(NOW + dt.timedelta(minutes=1))
    sample = Sample(source="vllm", at=NOW, servers=())
    write_sample(account.workload("sampler", "warehouse"), sample)
    compared = account.workload("reconciliation", "warehouse")
    assert read_samples(compared, "vllm", NOW, NOW) == [sample]
    billing = account.workload("billing", "warehouse")
    assert "pods/day=2026-11-03/cluster.json" in billing.list("pods/")


def test_the_reconciliation_reads_what_evaluations_asked(account: Account, live: Manifest) -> None:
    del live
    (asked,) = read_traffic(account.workload("reconciliation", "registry"))
    assert asked.run_id == "evaluate-3f2a9c41b07d"


def test_billing_makes_parts_closes_a_month_and_corrects_it(
    account: Account, live: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    del live
    _ship(account, last=True)
    after = dt.datetime(2026, 12, 3, tzinfo=dt.UTC)
    _bill(account, NOW, tasks.refresh)
    _bill(account, after, lambda config, now: tasks.close(config, now, month="2026-11"))
    order = order_note(
        kind="credit",
        customer="customer-bank-A",
        amount="0.01",
        month="2026-11",
        reason="goodwill",
        by="finance",
        date=after.date(),
    )
    _bill(account, after, lambda config, now: tasks.note(config, now, order))
    keys = account.keys("warehouse")
    folders = {key.partition("/")[0] for key in keys}
    assert {"parts", "closed", "closed-heads", "notes"} <= folders
    assert missing_files(account.workload("billing", "warehouse")) == []


def _ship(account: Account, *, last: bool = False) -> Any:
    ledger = account.root / "ledger"
    asyncio.run(_serve(ledger))
    config = ShipperConfig(
        ledger_dir=ledger,
        writer="router-0",
        warehouse_uri=f"s3://{ACCOUNT.bucket('warehouse')}",
    )
    shipper = Shipper(config, lambda _: account.workload("router", "warehouse"))
    shipper.ship()
    return shipper.ship(last=last)


async def _serve(ledger: Path) -> None:
    request = new_request_id(int(NOW.timestamp() * 1000))
    intent = Intent(
        request_id=request,
        ts=NOW.isoformat(),
        domain=DOMAIN,
        customer="customer-bank-A",
        version=str(VERSION),
        served_model="bank-v1.2",
        pool="slm",
        stream=False,
    )
    event = Event(
        **{**vars(intent), "ts": (NOW + dt.timedelta(seconds=1)).isoformat()},
        status=200,
        input_tokens=1_000_000,
        output_tokens=0,
        cached_tokens=0,
        latency_ms=12.5,
        ttft_ms=3.25,
        error=None,
    )
    writer = LedgerWriter(ledger)
    await asyncio.gather(writer.append(intent), writer.append(event))
    await writer.close()


def _bill(account: Account, now: dt.datetime, task: Callable[[BillingConfig, Any], Any]) -> None:
    prices = account.root / "prices.yaml"
    prices.write_text(PRICES)
    config = BillingConfig(
        environment="prod",
        warehouse_uri=f"s3://{ACCOUNT.bucket('warehouse')}",
        registry_uri=f"s3://{ACCOUNT.bucket('registry')}",
        customers={DOMAIN: "customer-bank-A"},
        prices=prices,
        cache=account.root / "cache",
    )
    with pytest.MonkeyPatch.context() as patch:
        client = account.client(workload_role("billing"))
        patch.setattr("registry.s3_store.boto3.client", lambda _: client)
        task(config, now)
