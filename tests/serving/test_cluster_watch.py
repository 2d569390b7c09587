"""Cluster-watch against a stand-in API server, through its command line; and its pure parts."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client
from stand_in_kubernetes import write_kubeconfig
from stand_in_watched import CONFIG_MAPS, SLICES, StandInWatched, config_map, slice_of
from world import serving, until

from registry.errors import RegistryError
from serving.cluster_watch.endpoints import servers_of
from serving.cluster_watch.records import domain_of, record_of
from serving.pool_servers import PoolServers
from serving.router.server_folder import ServerFolder
from serving.router.tenant_folder import TenantFolder

ROOT = Path(__file__).resolve().parents[2]


def record(domain: str, **changes: Any) -> dict[str, str]:
    values = {
        "schema": 1,
        "domain": domain,
        "customer": f"customer of {domain}",
        "key_hashes": [f"sha256:{'0a' * 32}"],
        "pools": ["slm"],
    }
    return {"record.json": json.dumps(values | changes)}


@dataclass
class Watching:
    """A running cluster-watch."""

    api: StandInWatched
    url: str
    domains: Path
    pools: Path
    log: list[str]

    def records(self) -> set[str]:
        return {path.stem for path in self.domains.glob("*.json")}

    def servers(self, pool: str) -> list[str] | None:
        path = self.pools / f"{pool}.json"
        if not path.exists():
            return None
        return [each.pod for each in PoolServers.model_validate_json(path.read_bytes()).servers]

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def watching(root: Path, api: StandInWatched) -> AsyncIterator[Watching]:
    async with serving(api.application()) as url:
        write_kubeconfig(root / "kubeconfig", url)
        config = {
            "namespace": "agentic-serving",
            "pools": {"slm": "vllm-slm-pods", "llm": "vllm-llm-pods"},
            "domains_dir": str(root / "found/domains"),
            "pools_dir": str(root / "found/pools"),
            "listen": {"port": 0},
            "retry_s": 0.1,
            "kubeconfig": str(root / "kubeconfig"),
        }
        file = root / "cluster-watch.json"
        file.write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving.cluster_watch", "--config", str(file)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            # No proxy between the two.
            env={key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        )
        log: list[str] = []
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            assert process.stderr is not None
            async for line in process.stderr:
                log.append(line.decode())
                if "listening on " in log[-1]:
                    listening.set_result(log[-1].split("listening on ")[1].strip())

        reading = asyncio.create_task(read())
        try:
            async with asyncio.timeout(30):
                own = await listening
            yield Watching(api, own, root / "found/domains", root / "found/pools", log)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            reading.cancel()


async def test_what_is_in_the_cluster_is_in_the_files(tmp_path: Path) -> None:
    api = StandInWatched()
    api.put(CONFIG_MAPS, config_map("tenancy-bank-ledger", record("bank-ledger")))
    api.put(SLICES, slice_of("vllm-slm-pods", {"vllm-slm-0": "10.0.0.1"}))
    async with watching(tmp_path, api) as seen:
        await until(lambda: api.watches() == 2, "both are listed and watched")
        assert (await seen.get("/readyz"))[0] == 200
        assert seen.records() == {"bank-ledger"}
        assert (seen.servers("slm"), seen.servers("llm")) == (["vllm-slm-0"], [])

        api.put(CONFIG_MAPS, config_map("tenancy-stock-order", record("stock-order")))
        api.put(
            SLICES,
            slice_of("vllm-slm-pods", {"vllm-slm-1": "10.0.0.2", "vllm-slm-2": "10.0.0.3"}),
        )
        await until(lambda: "stock-order" in seen.records(), "the new domain is written")
        await until(
            lambda: seen.servers("slm") == ["vllm-slm-1", "vllm-slm-2"], "the pods have changed"
        )

        api.delete(CONFIG_MAPS, "tenancy-bank-ledger")
        api.delete(SLICES, "vllm-slm-pods-x7k2p")
        await until(lambda: seen.records() == {"stock-order"}, "the domain is gone")
        await until(lambda: seen.servers("slm") == [], "no pod is left")
        assert api.selectors == {
            "custom-model-pipeline/tenancy=true",
            "kubernetes.io/service-name in (vllm-llm-pods,vllm-slm-pods)",
        }
        # What was written is what the router reads.
        folder, servers = TenantFolder(seen.domains), ServerFolder(seen.pools)
        folder.refresh()
        assert [each.domain for each in folder.directory.tenants] == ["stock-order"]
        assert servers.changed("slm") == ()


async def test_an_api_that_is_away_removes_nobody(tmp_path: Path) -> None:
    api = StandInWatched()
    api.put(CONFIG_MAPS, config_map("tenancy-bank-ledger", record("bank-ledger")))
    async with watching(tmp_path, api) as seen:
        await until(lambda: api.watches() == 2, "both are listed and watched")
        api.broken = True
        api.objects[CONFIG_MAPS].clear()
        api.end_watches()
        await until(lambda: sum("stay as they are" in line for line in seen.log) > 1, "it is said")
        assert seen.records() == {"bank-ledger"}
        assert (await seen.get("/readyz"))[0] == 200
        assert (
            'cluster_watch_failures_total{kind="tenancy records"}'
            in (await seen.get("/metrics"))[1]
        )
        api.broken = False
        await until(lambda: seen.records() == set(), "the next list is taken over")


async def test_it_is_not_ready_before_everything_was_listed(tmp_path: Path) -> None:
    api = StandInWatched()
    api.broken = True
    async with watching(tmp_path, api) as seen:
        assert (await seen.get("/readyz"))[0] == 503
        assert (await seen.get("/healthz"))[0] == 200
        assert seen.servers("slm") is None
        api.broken = False
        await until(lambda: seen.servers("slm") == [], "the pools are listed")
        await until(lambda: api.watches() == 2, "both are watched")
        assert (await seen.get("/readyz"))[0] == 200


async def test_a_record_that_cannot_be_used_is_not_written(tmp_path: Path) -> None:
    api = StandInWatched()
    api.put(CONFIG_MAPS, config_map("tenancy-bank-ledger", record("bank-ledger")))
    api.put(CONFIG_MAPS, config_map("tenancy-stock-order", record("bank-ledger", customer="x")))
    api.put(CONFIG_MAPS, config_map("tenancy-tax", {"record.json": "{"}))
    api.put(CONFIG_MAPS, config_map("bank", record("bank")))
    async with watching(tmp_path, api) as seen:
        await until(lambda: api.watches() == 2, "both are listed and watched")
        assert seen.records() == {"bank-ledger"}
        text = (await seen.get("/metrics"))[1]
        assert "cluster_watch_domains 1.0" in text
        assert "cluster_watch_refused_records 3.0" in text
        before = (seen.domains / "bank-ledger.json").read_bytes()
        assert b"customer of bank-ledger" in before
        # A bad edit leaves the record as it was.
        api.put(CONFIG_MAPS, config_map("tenancy-bank-ledger", {"record.json": "{}"}))
        await until(
            lambda: any("ConfigMap tenancy-bank-ledger" in line for line in seen.log), "it is said"
        )
        assert (seen.domains / "bank-ledger.json").read_bytes() == before


def _config_map(name: str, data: dict[str, str] | None) -> Any:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("tenancy-tax", None, "there is no such key"),
        ("tenancy-tax", {"other": "{}"}, "there is no such key"),
        ("tenancy-tax", {"record.json": "[]"}, "ConfigMap tenancy-tax: record.json: document"),
        ("tenancy-tax", record("stock-order"), "is in tenancy-stock-order"),
        ("tax", record("tax"), "is in tenancy-tax"),
        ("tenancy-tax", record("tax", pools=[]), "pools"),
    ],
)
def test_a_config_map_holds_the_record_of_its_own_domain(
    name: str, data: dict[str, str] | None, said: str
) -> None:
    with pytest.raises(RegistryError, match=said):
        record_of(_config_map(name, data))


def test_names_of_config_maps() -> None:
    assert domain_of("tenancy-bank-ledger") == "bank-ledger"
    assert domain_of("tenancy-") is None
    assert domain_of("kube-root-ca.crt") is None


def _slice(made: dict[str, Any]) -> Any:
    body = SimpleNamespace(data=json.dumps(made))
    api = client.ApiClient()
    return api.deserialize(body.data, "V1EndpointSlice", "application/json")


def test_only_ready_pods_of_the_service_are_servers() -> None:
    made = slice_of(
        "vllm-slm-pods",
        {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3", "d": "10.0.0.4"},
    )
    made["endpoints"][1]["conditions"]["ready"] = False
    made["endpoints"][2]["conditions"] = {}
    made["endpoints"][3]["targetRef"]["kind"] = "Node"
    other = slice_of("vllm-llm-pods", {"e": "10.0.0.5"})
    unnamed = slice_of("vllm-slm-pods", {"f": "10.0.0.6"}, name="z", ports=[{"port": 8000}])
    empty = slice_of("vllm-slm-pods", {}, name="y", endpoints=None)
    found = servers_of([_slice(each) for each in (made, other, unnamed, empty)], "vllm-slm-pods")
    assert [each.pod for each in found.servers] == ["a", "c"]
    assert found.servers[0].base_url == "http://10.0.0.1:8000"
    assert found.servers[0].adapter_sync_url == "http://10.0.0.1:8090"


@given(
    pods=st.dictionaries(
        st.sampled_from([f"vllm-slm-{i}" for i in range(6)]), st.integers(1, 250), max_size=6
    ),
    order=st.randoms(use_true_random=False),
)
def test_a_pod_in_several_slices_is_one_server_whatever_their_order(
    pods: dict[str, int], order: Any
) -> None:
    four = {pod: f"10.0.0.{number}" for pod, number in pods.items()}
    six = {pod: f"fd00::{number:x}" for pod, number in pods.items()}
    slices = [
        slice_of("s", four, name="b"),
        slice_of("s", four, name="a"),
        slice_of("s", six, name="c", addressType="IPv6"),
    ]
    order.shuffle(slices)
    found = servers_of([_slice(each) for each in slices], "s")
    assert {each.pod: each.base_url for each in found.servers} == {
        pod: f"http://{address}:8000" for pod, address in four.items()
    }
    only_six = servers_of([_slice(slice_of("s", six, addressType="IPv6"))], "s")
    assert {each.pod: each.base_url for each in only_six.servers} == {
        pod: f"http://[{address}]:8000" for pod, address in six.items()
    }
