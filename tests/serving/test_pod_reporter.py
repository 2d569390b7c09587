"""The reporter against a stand-in API server, through its command line and a kubeconfig."""

import asyncio
import datetime as dt
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from stand_in_kubernetes import StandInKubernetes, pod, write_kubeconfig

from serving.billing.pods import read_report
from serving.billing.usage import Attention, PodInterval
from serving.pod_reports.config import POOL_LABEL

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"nvidia.com/gpu.product": "NVIDIA-L4", "karpenter.sh/capacity-type": "spot"}


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[StandInKubernetes]:
    """The API server, and its address in `tmp_path/kubeconfig`."""
    stand_in = StandInKubernetes()
    runner = web.AppRunner(stand_in.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    write_kubeconfig(tmp_path / "kubeconfig", f"http://{host}:{port}")
    yield stand_in
    await runner.cleanup()


async def _once(root: Path, **changes: Any) -> tuple[int, str]:
    (root / "warehouse").mkdir(exist_ok=True)
    config = {
        "warehouse_uri": f"file://{root}/warehouse",
        "namespace": "models",
        "source": "cluster-models",
        "kubeconfig": str(root / "kubeconfig"),
        **changes,
    }
    path = root / "pod-reports.json"
    path.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serving.pod_reports", "--config", str(path), "--once"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
        # No proxy between the two.
        env={key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
    )
    _, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, log.decode()


def _intervals(root: Path) -> list[PodInterval]:
    found: list[PodInterval] = []
    for path in sorted((root / "warehouse").glob("pods/*/cluster-models.json")):
        report = read_report(path.read_bytes(), str(path))
        assert not isinstance(report, Attention)
        found += report
    return found


def _ago(**by: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(**by)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_what_the_api_lists_is_what_billing_reads(
    kubernetes: StandInKubernetes, tmp_path: Path
) -> None:
    kubernetes.nodes["node-1"] = LABELS
    over = {"phase": "Succeeded", "finished": _ago(minutes=5)}
    kubernetes.pods = [
        pod("slm-0", uid="a", scheduled=_ago(days=1), gpus=2),
        pod("slm-1", uid="b", scheduled=_ago(minutes=9), **over),
        pod("slm-2", uid="c", scheduled=_ago(minutes=9), node="gone"),
        pod("slm-3", uid="d", scheduled=_ago(minutes=9), node=None, phase="Pending"),
        pod("slm-4", uid="e", scheduled=_ago(minutes=9), phase="Failed"),
        pod("router-0", uid="f", scheduled=_ago(minutes=9), labels={"app": "router"}),
        pod("xl-0", uid="g", scheduled=_ago(minutes=9), labels={POOL_LABEL: "xl"}),
    ]
    status, log = await _once(tmp_path)
    assert status == 0, log
    assert "pod xl-0: label custom-model-pipeline/pool is 'xl', which is no pool" in log
    by_pod: dict[str, list[PodInterval]] = {}
    for one in _intervals(tmp_path):
        by_pod.setdefault(one.pod, []).append(one)
    assert sorted(by_pod) == ["slm-0", "slm-1", "slm-2"]
    yesterday, today = by_pod["slm-0"]
    assert yesterday.ended == today.started
    assert {(one.gpus, one.gpu_type, one.price_class) for one in by_pod["slm-0"]} == {
        (2, "NVIDIA-L4", "spot")
    }
    held = sum((one.ended - one.started).total_seconds() for one in by_pod["slm-1"])
    assert held == pytest.approx(240, abs=1)
    assert {(one.gpus, one.gpu_type) for one in by_pod["slm-2"]} == {(1, "unknown")}

    status, log = await _once(tmp_path)
    assert status == 0, log
    held_again = [one for one in _intervals(tmp_path) if one.pod == "slm-0"]
    assert held_again[-1].ended > today.ended
    assert held_again[0] == yesterday


async def test_an_api_that_fails_is_said_and_changes_nothing(
    kubernetes: StandInKubernetes, tmp_path: Path
) -> None:
    kubernetes.nodes["node-1"] = LABELS
    kubernetes.pods = [pod("slm-0", uid="a", scheduled=_ago(minutes=1))]
    assert (await _once(tmp_path))[0] == 0
    before = _intervals(tmp_path)
    kubernetes.broken = True
    status, log = await _once(tmp_path)
    assert status == 1
    assert "pods are not reported: " in log
    assert _intervals(tmp_path) == before


async def test_a_configuration_that_cannot_be_used_ends_it(tmp_path: Path) -> None:
    status, log = await _once(tmp_path)
    assert status == 2
    assert f"{tmp_path}/kubeconfig: " in log
    status, log = await _once(tmp_path, kubeconfig=None)
    assert (status, "or run in a pod" in log) == (2, True)
    status, log = await _once(tmp_path, source="No Name")
    assert (status, "source" in log) == (2, True)
