"""Adapter-sync against the stand-in server: what it loads, what it refuses, what it survives."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in_vllm import StandInVllm
from world import World, loaded, running_sync, safetensors, serving, until

from registry import layout
from registry.names import Version
from registry.pointer import Pointer, rollback
from serving.adapter_sync.files import AdapterFileError, check_safetensors
from serving.adapter_sync.sync import AdapterSync
from serving.adapter_sync.wanted import Role, WantedAdapter, fit, versions_of_interest
from serving.pod_status import AdapterStatus


@dataclass
class Pod:
    world: World
    vllm: StandInVllm
    sync: AdapterSync

    async def state(self, name: str, wanted: str) -> AdapterStatus:
        def status() -> AdapterStatus | None:
            return self.sync.status().adapters.get(name)

        await until(lambda: (s := status()) is not None and s.state == wanted, f"{name} {wanted}")
        found = status()
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def pod(world: World, vllm: StandInVllm | None = None, **changes: Any) -> AsyncIterator[Pod]:
    vllm = vllm or StandInVllm()
    async with (
        serving(vllm.application()) as url,
        running_sync(world, url, **changes) as (_, sync),
    ):
        yield Pod(world, vllm, sync)


async def test_loads_live_and_previous_under_immutable_names(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    second = world.go_live("bank-ledger", "v1.1")
    async with pod(world) as it:
        status = await it.state("bank-ledger-v1.1", "loaded")
        await it.state("bank-ledger-v1.0", "loaded")
        assert status.digest == second.adapter("slm").adapter_digest
        assert it.vllm.adapters == {
            name: str(world.adapters_dir / name)
            for name in ("bank-ledger-v1.0", "bank-ledger-v1.1")
        }


async def test_status_has_the_agreed_shape(world: World) -> None:
    manifest = world.go_live("bank-ledger", "v1.0")
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as url,
        running_sync(world, url, pod="pod-1") as (sync_url, sync),
        aiohttp.ClientSession() as session,
    ):
        await until(lambda: loaded(sync, "bank-ledger", "v1.0"), "loaded")
        async with session.get(f"{sync_url}/status") as response:
            body = await response.json()
    assert body["pod"] == "pod-1"
    assert body["base"] is True
    (entry,) = body["adapters"].items()
    assert entry[0] == "bank-ledger-v1.0"
    assert entry[1].pop("loaded_at")
    assert entry[1] == {
        "domain": "bank-ledger",
        "version": "v1.0",
        "digest": manifest.adapter("slm").adapter_digest,
        "state": "loaded",
        "reason": "",
    }


async def test_a_restarted_server_gets_everything_again(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    async with pod(world) as it:
        first = await it.state("bank-ledger-v1.0", "loaded")
        it.vllm.forget()
        await until(lambda: "bank-ledger-v1.0" in it.vllm.adapters, "it is loaded again")
        await until(
            lambda: (
                it.sync.status().adapters["bank-ledger-v1.0"].loaded_at
                not in {None, first.loaded_at}
            ),
            "and probed again",
        )


async def test_a_silent_server_holds_nothing(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    vllm = StandInVllm()
    async with contextlib.AsyncExitStack() as server:
        url = await server.enter_async_context(serving(vllm.application()))
        async with running_sync(world, url) as (_, sync):
            await until(lambda: loaded(sync, "bank-ledger", "v1.0"), "loaded")
            await server.aclose()
            await until(lambda: not sync.status().base, "the server is reported away")
            status = sync.status().adapters["bank-ledger-v1.0"]
            assert (status.state, status.loaded_at) == ("loading", None)


async def test_an_adapter_that_is_not_applied_is_not_called_loaded(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    async with pod(world, StandInVllm(ignores_adapters=True)) as it:
        status = await it.state("bank-ledger-v1.0", "failed")
        assert "does not differ from the base model 'llama-8b'" in status.reason
        assert "bank-ledger-v1.0" not in it.vllm.adapters


def damaged(world: World, key: str, data: bytes) -> None:
    (world.root / "registry" / key).write_bytes(data)


WEIGHTS = layout.adapter_file("bad", Version(1, 0), "slm", layout.ADAPTER_WEIGHTS)


async def refused(world: World, reason: str) -> None:
    """`bad` is refused for the reason, and `good` is served beside it."""
    world.go_live("good", "v1.0")
    async with pod(world) as it:
        status = await it.state("bad-v1.0", "failed")
        assert reason in status.reason
        await it.state("good-v1.0", "loaded")
        assert list(it.vllm.adapters) == ["good-v1.0"]
        assert {path.name for path in world.adapters_dir.iterdir() if path.is_dir()} == {
            "good-v1.0"
        }


async def test_refuses_a_digest_that_is_not_the_manifests(world: World) -> None:
    world.go_live("bad", "v1.0")
    damaged(world, WEIGHTS, safetensors(b"other weights"))
    await refused(world, "adapter_model.safetensors: its digest is sha256:")


async def test_refuses_truncated_weights_even_with_the_right_digest(world: World) -> None:
    world.go_live("bad", "v1.0", weights=safetensors(b"x" * 1000)[:-10])
    await refused(world, "adapter_model.safetensors: truncated or padded")


async def test_refuses_a_foreign_base(world: World) -> None:
    world.go_live("bad", "v1.0", base="llama-70b")
    await refused(world, "base_model_name_or_path is 'llama-70b'")


async def test_refuses_a_missing_file(world: World) -> None:
    world.go_live("bad", "v1.0")
    (world.root / "registry" / WEIGHTS).unlink()
    await refused(world, "no object")


async def test_refuses_a_live_pointer_without_an_evaluation(world: World) -> None:
    world.point(world.publish("bad", "v1.0"))
    await refused(world, "which has no evaluation")


async def test_refuses_a_live_pointer_whose_evaluation_failed(world: World) -> None:
    manifest = world.publish("bad", "v1.0")
    world.evaluate(manifest, passed=False)
    world.point(manifest)
    await refused(world, "did not pass its evaluation")


async def test_refuses_a_verdict_over_another_bundle(world: World) -> None:
    manifest = world.publish("bad", "v1.0")
    world.evaluate(manifest, digest="sha256:another")
    world.point(manifest)
    await refused(world, "judges another bundle")


async def test_refuses_a_verdict_signed_by_another_key(world: World, tmp_path: Path) -> None:
    forger = World(tmp_path / "forger")
    manifest = world.publish("bad", "v1.0")
    world.private_key = forger.private_key
    world.evaluate(manifest)
    world.point(manifest)
    world.private_key = world.root / "e.key"
    await refused(world, "signature does not match")


async def test_refuses_an_edited_manifest(world: World) -> None:
    manifest = world.go_live("bad", "v1.0")
    key = layout.manifest("bad", manifest.version)
    text = (world.root / "registry" / key).read_text()
    digest = manifest.adapter("slm").files[layout.ADAPTER_WEIGHTS]
    damaged(world, key, text.replace(digest, "sha256:" + "0" * 64).encode())
    await refused(world, "adapter_digest of slm does not follow from its files")


async def test_candidates_are_hot_only_where_they_are_evaluated(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    world.publish("bank-ledger", "v1.1")
    failing = world.publish("bank-ledger", "v1.2")
    world.evaluate(failing, passed=False)
    async with pod(world, include_candidates=True) as it:
        await it.state("bank-ledger-v1.1", "loaded")
        await it.state("bank-ledger-v1.0", "loaded")
        assert "bank-ledger-v1.2" not in it.sync.status().adapters
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        assert "bank-ledger-v1.1" not in it.sync.status().adapters


async def test_retired_adapters_go_after_a_grace(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        world.go_live("bank-ledger", "v1.1")
        await it.state("bank-ledger-v1.1", "loaded")
        assert "bank-ledger-v1.0" in it.vllm.adapters, "the release before stays"
        world.go_live("bank-ledger", "v1.2")
        await it.state("bank-ledger-v1.2", "loaded")
        await until(lambda: "bank-ledger-v1.0" not in it.vllm.adapters, "it is unloaded")
        assert set(it.vllm.adapters) == {"bank-ledger-v1.1", "bank-ledger-v1.2"}
        await until(lambda: not (world.adapters_dir / "bank-ledger-v1.0").exists(), "files go")
        assert (world.adapters_dir / "bank-ledger-v1.1").is_dir()


async def test_rollback_needs_no_download(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    world.go_live("bank-ledger", "v1.1")
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        damaged(world, layout.manifest("bank-ledger", Version(1, 0)), b"away")
        rollback(world.store, "bank-ledger", to=None, by="test", reason="test")
        await asyncio.sleep(0.3)
        assert loaded(it.sync, "bank-ledger", "v1.0")
        assert loaded(it.sync, "bank-ledger", "v1.1")


async def test_a_registry_outage_changes_nothing_even_across_a_restart(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    registry = world.root / "registry"
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        shutil.move(registry, world.root / "away")
        await asyncio.sleep(0.5)
        assert loaded(it.sync, "bank-ledger", "v1.0")
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")


async def test_a_damaged_pointer_freezes_its_domain_only(world: World) -> None:
    world.go_live("bank-ledger", "v1.0")
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        damaged(world, layout.pointer("bank-ledger"), b"{broken")
        world.go_live("stock-order", "v1.0")
        await it.state("stock-order-v1.0", "loaded")
        assert loaded(it.sync, "bank-ledger", "v1.0")


async def test_a_download_that_was_cut_off_leaves_nothing(world: World) -> None:
    world.adapters_dir.mkdir()
    half = world.adapters_dir / ".download-half"
    half.mkdir()
    (half / layout.ADAPTER_WEIGHTS).write_bytes(b"half")
    tampered = world.adapters_dir / "bank-ledger-v1.0"
    tampered.mkdir()
    (tampered / layout.ADAPTER_WEIGHTS).write_bytes(b"not the weights")
    manifest = world.go_live("bank-ledger", "v1.0")
    async with pod(world) as it:
        await it.state("bank-ledger-v1.0", "loaded")
    assert not half.exists()
    from world import sha

    adapter = manifest.adapter("slm")
    assert adapter is not None
    for name, digest in adapter.files.items():
        assert sha((tampered / name).read_bytes()) == digest


async def test_adapters_of_others_are_left_alone(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text(json.dumps({}))
    (other / "adapter_model.safetensors").write_bytes(safetensors(b"x"))
    world.go_live("bank-ledger", "v1.0")
    async with pod(world, StandInVllm(adapters={"by-hand": str(other)})) as it:
        await it.state("bank-ledger-v1.0", "loaded")
        await asyncio.sleep(0.6)
        assert "by-hand" in it.vllm.adapters


@given(st.binary(max_size=200), st.data())
def test_any_cut_of_a_weights_file_is_noticed(content: bytes, data: st.DataObject) -> None:
    import tempfile

    whole = safetensors(content)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "adapter_model.safetensors"
        path.write_bytes(whole)
        check_safetensors(path)
        path.write_bytes(whole[:cut])
        with pytest.raises(AdapterFileError):
            check_safetensors(path)


def wanted(number: int, role: Role) -> WantedAdapter:
    return WantedAdapter(f"d{number}", "v1.0", f"sha256:{number}", {}, "llama-8b", 16, role)


@given(st.lists(st.sampled_from(list(Role)), max_size=12), st.integers(1, 8))
def test_releases_come_before_candidates_and_live_ones_always_fit(
    roles: list[Role], slots: int
) -> None:
    kept, refused = fit([wanted(n, role) for n, role in enumerate(roles)], slots)
    assert len(kept) + len(refused) == len(roles)
    assert sum(a.role is Role.LIVE for a in kept) == roles.count(Role.LIVE)
    assert len(kept) <= max(slots, roles.count(Role.LIVE))
    left_out = [roles[int(r.domain[1:])] for r in refused]
    assert all(a.role <= role for a in kept for role in left_out)


def test_which_versions_matter() -> None:
    v = [Version(1, minor) for minor in range(4)]
    pointer = Pointer(domain="d", live=v[2], previous=v[1])
    assert versions_of_interest(pointer, v, include_candidates=True) == {
        v[1]: Role.PREVIOUS,
        v[2]: Role.LIVE,
        v[3]: Role.CANDIDATE,
    }
    empty = Pointer(domain="d")
    assert set(versions_of_interest(empty, v, include_candidates=True)) == set(v)
    assert versions_of_interest(empty, v, include_candidates=False) == {}
