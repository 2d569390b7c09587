"""A small world for the request path: registry, domains, model server, both processes."""

import asyncio
import contextlib
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from stand_in_vllm import StandInVllm

from registry import documents, layout
from registry.evaluation import CheckResult, Evaluation, create_key_pair, sign, write_evaluation
from registry.manifest import Manifest, PoolAdapter, adapter_digest, bundle_digest
from registry.names import Version, served_name
from registry.pointer import read_pointer, release
from registry.signing import FileSigner
from registry.store import ObjectStore, open_store
from serving.adapter_sync.config import AdapterSyncConfig
from serving.adapter_sync.server import application, build
from serving.adapter_sync.sync import AdapterSync
from serving.router.config import RouterConfig
from serving.router.server import Router, start

POD = "vllm-0"
GUIDE_70B = "meta-llama/Llama-3.3-70B-Instruct"


def safetensors(content: bytes) -> bytes:
    """The smallest file of the format: one tensor of bytes."""
    header = json.dumps(
        {"lora_B": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + content


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class World:
    """Everything that a request needs, below one directory."""

    root: Path
    store: ObjectStore = field(init=False)
    domains_dir: Path = field(init=False)
    ledger_dir: Path = field(init=False)
    adapters_dir: Path = field(init=False)
    public_key: Path = field(init=False)
    private_key: Path = field(init=False)

    def __post_init__(self) -> None:
        self.domains_dir = self.root / "domains"
        self.domains_dir.mkdir(parents=True)
        self.ledger_dir = self.root / "ledger"
        self.adapters_dir = self.root / "adapters"
        self.private_key, self.public_key = self.root / "e.key", self.root / "e.pub"
        create_key_pair(self.private_key, self.public_key)
        self.store = open_store(self.registry_uri)

    @property
    def registry_uri(self) -> str:
        return f"file://{self.root}/registry"

    def domain(self, name: str, **changes: Any) -> str:
        """Write a tenancy record; returns the key."""
        key = f"cmp_{name}_{'k' * 43}"
        record = {
            "schema": 1,
            "domain": name,
            "customer": f"customer-{name}",
            "header_aliases": [],
            "key_hashes": [sha(key.encode())],
            "pools": ["slm"],
            "routing": {"mode": "direct"},
            "content_capture": "off",
        }
        self.write_record(name, record | changes)
        return key

    def write_record(self, name: str, record: dict[str, Any]) -> None:
        temporary = self.domains_dir / f".{name}.tmp"
        temporary.write_text(json.dumps(record))
        temporary.replace(self.domains_dir / f"{name}.json")

    def publish(
        self,
        domain: str,
        version: str,
        *,
        content: bytes | None = None,
        base: str = "llama-8b",
        weights: bytes | None = None,
        llm: bool = False,
    ) -> Manifest:
        """Put a version into the registry, as training and publishing would."""
        parsed = Version.parse(version)
        config = {"peft_type": "LORA", "r": 16, "base_model_name_or_path": base}
        files = {
            layout.ADAPTER_WEIGHTS: weights
            or safetensors(content or f"{domain}{version}".encode()),
            layout.ADAPTER_CONFIG: json.dumps(config).encode(),
        }
        for name, data in files.items():
            self.store.put(
                layout.adapter_file(domain, parsed, "slm", name), data, if_none_match=True
            )
        digests = {name: sha(data) for name, data in files.items()}
        adapter = PoolAdapter(
            files=digests,
            adapter_digest=adapter_digest(digests),
            rank=16,
            target_modules=("q_proj",),
            base_model=base,
            run_id="run",
        )
        pools: dict[Any, Any] = {"slm": adapter} | ({"llm": "base"} if llm else {})
        manifest = Manifest(
            domain=domain,
            version=parsed,
            bundle_digest=bundle_digest(domain, parsed, pools),
            pools=pools,
            dataset_digest="sha256:d",
            inputs_digest="sha256:i",
            created_at=datetime.now(UTC),
        )
        self.store.put(
            layout.manifest(domain, parsed), documents.encode(manifest), if_none_match=True
        )
        return manifest

    def evaluate(self, manifest: Manifest, *, passed: bool = True, digest: str = "") -> None:
        """Write a signed verdict."""
        check = CheckResult(name="domain-tests", status="passed" if passed else "failed")
        verdict = Evaluation(
            domain=manifest.domain,
            version=manifest.version,
            bundle_digest=digest or manifest.bundle_digest,
            gate_digest="sha256:g",
            checks=(check,),
            created_at=datetime.now(UTC),
        )
        write_evaluation(self.store, sign(verdict, FileSigner(self.private_key)))

    def point(self, manifest: Manifest) -> None:
        """Move the pointer, whatever the gate says."""
        release(
            self.store,
            manifest.domain,
            version=manifest.version,
            bundle_digest=manifest.bundle_digest,
            generation=read_pointer(self.store, manifest.domain).generation,
            by="test",
        )

    def go_live(self, domain: str, version: str, **options: Any) -> Manifest:
        """Publish, evaluate and release a version."""
        manifest = self.publish(domain, version, **options)
        self.evaluate(manifest)
        self.point(manifest)
        return manifest

    def router_config(self, vllm_url: str, sync_url: str, **changes: Any) -> RouterConfig:
        server = {"pod": POD, "base_url": vllm_url, "adapter_sync_url": sync_url}
        pool = {"servers": [server]}
        values: dict[str, Any] = {
            "listen": {"port": 0},
            "pools": {
                "slm": {
                    **pool,
                    "served_base": "llama-8b",
                    "aliases": ["slm", "llama-8b", "meta-llama/Llama-3.3-8B-Instruct"],
                },
                "llm": {**pool, "served_base": "glm5", "aliases": ["llm", "glm5", GUIDE_70B]},
            },
            "domains_dir": str(self.domains_dir),
            "registry_uri": self.registry_uri,
            "evaluation_public_key": str(self.public_key),
            "ledger_dir": str(self.ledger_dir),
            "poll_interval_s": 0.05,
        }
        return RouterConfig.model_validate(values | changes)

    def sync_config(self, vllm_url: str, **changes: Any) -> AdapterSyncConfig:
        values = {
            "listen": {"port": 0},
            "registry_uri": self.registry_uri,
            "evaluation_public_key": str(self.public_key),
            "vllm_url": vllm_url,
            "served_base": "llama-8b",
            "adapters_dir": str(self.adapters_dir),
            "pool": "slm",
            "pod": POD,
            "interval_s": 0.05,
            "retire_grace_s": 0.2,
        }
        return AdapterSyncConfig.model_validate(values | changes)


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Run an application on a free port; gives its URL."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running_sync(
    world: World, vllm_url: str, **changes: Any
) -> AsyncIterator[tuple[str, AdapterSync]]:
    """Adapter-sync with its loop."""
    async with aiohttp.ClientSession() as session:
        sync = build(world.sync_config(vllm_url, **changes), session)
        async with serving(application(sync)) as url:
            task = asyncio.create_task(sync.run())
            try:
                yield url, sync
            finally:
                task.cancel()


@contextlib.asynccontextmanager
async def running_router(config: RouterConfig) -> AsyncIterator[tuple[str, Router]]:
    """The router as its process starts it, on a free port."""
    async with contextlib.AsyncExitStack() as stack:
        router, url = await start(config, stack)
        await router.refresh()
        yield url, router


@dataclass
class RequestPath:
    """Stand-in model server, adapter-sync and router, connected."""

    world: World
    vllm: StandInVllm
    sync: AdapterSync
    router: Router
    url: str
    session: aiohttp.ClientSession

    async def ask(
        self,
        key: str | None,
        *,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        **fields: Any,
    ) -> tuple[int, dict[str, Any], Any]:
        """POST a request; returns status, JSON body and headers."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        body = {
            "model": "slm",
            "messages": [{"role": "user", "content": "one two three"}],
            **fields,
        }
        async with self.session.post(
            self.url + path, data=data or json.dumps(body), headers=sent
        ) as response:
            return response.status, json.loads(await response.read()), response.headers


async def until(condition: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def loaded(sync: AdapterSync, domain: str, version: str) -> bool:
    """Whether adapter-sync says that a version answers."""
    status = sync.status().adapters.get(served_name(domain, Version.parse(version)))
    return status is not None and status.state == "loaded"


async def live(path: RequestPath, domain: str, version: str, **record: object) -> str:
    """A domain with a live release; returns its key."""
    key = path.world.domain(domain, **record)
    manifest = path.world.go_live(domain, version)
    name = served_name(domain, manifest.version)
    await until(
        lambda: (
            (s := path.router.releases_of(domain).live.get("slm")) is not None
            and s.served_model == name
        ),
        f"{name} is not live",
    )
    return key
