"""The loop: make what the server holds equal to what the registry wants."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from registry.errors import RegistryError
from serving.adapter_sync.config import AdapterSyncConfig
from serving.adapter_sync.files import AdapterFileError, AdapterFiles, describe
from serving.adapter_sync.registry_view import RegistryView
from serving.adapter_sync.vllm import ModelServerError, VllmServer
from serving.adapter_sync.wanted import RefusedAdapter, WantedAdapter, fit
from serving.pod_status import AdapterStatus, PodStatus

_log = logging.getLogger(__name__)

_MAX_BACKOFF_S: Final = 15.0
_SILENT_LOOKS: Final = 2


@dataclass
class _Entry:
    """What is known of one adapter on this server."""

    adapter: WantedAdapter
    state: Literal["loaded", "loading", "failed"] = "loading"
    reason: str = ""
    loaded_at: str | None = None
    failures: int = 0
    retry_at: float = 0.0


class AdapterSync:
    """Reconciles one server. Every adapter stands alone: a bad one fails, the others go on."""

    def __init__(
        self,
        config: AdapterSyncConfig,
        view: RegistryView,
        files: AdapterFiles,
        server: VllmServer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._view = view
        self._files = files
        self._server = server
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._refused: list[RefusedAdapter] = []
        self._unwanted_since: dict[str, float] = {}
        self._silent_looks = _SILENT_LOOKS

    def status(self) -> PodStatus:
        """What the server holds."""
        adapters = {
            name: AdapterStatus(
                domain=entry.adapter.domain,
                version=entry.adapter.version,
                digest=entry.adapter.digest,
                state=entry.state,
                reason=entry.reason,
                loaded_at=entry.loaded_at,
            )
            for name, entry in self._entries.items()
        }
        adapters |= {
            refused.name: AdapterStatus(
                domain=refused.domain,
                version=refused.version,
                digest=refused.digest,
                state="failed",
                reason=refused.reason,
            )
            for refused in self._refused
        }
        base = self._silent_looks < _SILENT_LOOKS
        return PodStatus(
            pod=self._config.pod, base=base, adapters=adapters, probes=self._server.probes()
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            try:
                await self.reconcile()
            except Exception:
                _log.exception("reconciling failed; the next attempt follows")
            await asyncio.sleep(self._config.interval_s)

    async def reconcile(self) -> None:
        """One look at registry and server, and what follows from it."""
        wanted, refused = await asyncio.to_thread(self._view.refresh)
        wanted, crowded_out = fit(wanted, self._config.max_cpu_loras)
        self._note_wanted(wanted, [*refused, *crowded_out])
        try:
            held = await self._server.adapters()
        except ModelServerError as error:
            self._server_is_silent(error)
            return
        self._silent_looks = 0
        for adapter in wanted:
            await self._ensure(self._entries[adapter.name], held)
        await self._retire(held, {adapter.name for adapter in wanted})

    def _note_wanted(self, wanted: list[WantedAdapter], refused: list[RefusedAdapter]) -> None:
        entries = {}
        for adapter in wanted:
            known = self._entries.get(adapter.name)
            if known is not None and known.adapter.digest == adapter.digest:
                known.adapter = adapter
                entries[adapter.name] = known
            else:
                entries[adapter.name] = _Entry(adapter)
        before = {item.name: item.reason for item in self._refused}
        for item in refused:
            if before.get(item.name) != item.reason:
                _log.error("%s is not served: %s", item.name, item.reason)
        self._entries, self._refused = entries, refused

    def _server_is_silent(self, error: ModelServerError) -> None:
        """One missed answer may be a busy server; after the second nothing counts as loaded."""
        self._silent_looks += 1
        if self._silent_looks < _SILENT_LOOKS:
            return
        if self._silent_looks == _SILENT_LOOKS:
            _log.error("the model server does not answer: %s", error)
        for entry in self._entries.values():
            if entry.state == "loaded":
                entry.state, entry.reason = "loading", "the model server does not answer"
                entry.loaded_at = None

    async def _ensure(self, entry: _Entry, held: dict[str, str]) -> None:
        """Load an adapter unless the server holds it and it was probed."""
        path = str(self._files.path(entry.adapter.name))
        here = held.get(entry.adapter.name) == path
        if entry.state == "loaded" and here:
            return
        if entry.failures and self._clock() < entry.retry_at:
            return
        if entry.state == "loaded":
            _log.warning("%s: the model server has forgotten it", entry.adapter.name)
        entry.state, entry.loaded_at = "loading", None
        try:
            await self._load(entry.adapter, held, path)
        except (AdapterFileError, RegistryError) as error:
            self._failed(entry, "failed", describe(error))
            return
        except (ModelServerError, OSError) as error:
            # A busy server or a registry that is away says nothing about the adapter.
            self._failed(entry, "loading", describe(error))
            return
        entry.state, entry.reason, entry.failures = "loaded", "", 0
        entry.loaded_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        _log.info("%s is loaded (%s)", entry.adapter.name, entry.adapter.digest)

    async def _load(self, adapter: WantedAdapter, held: dict[str, str], path: str) -> None:
        if adapter.rank > self._config.max_lora_rank:
            raise AdapterFileError(
                f"rank {adapter.rank} is over the server's max_lora_rank "
                f"{self._config.max_lora_rank}"
            )
        base = self._config.served_base
        await asyncio.to_thread(self._files.ensure, adapter, served_base=base)
        if held.get(adapter.name, path) != path:
            await self._server.unload(adapter.name)
        if held.get(adapter.name) != path:
            await self._server.load(adapter.name, path)
        try:
            await self._probe(adapter.name, base)
        except AdapterFileError:
            # Not left where a request could name it; the next attempt loads it anew.
            await self._server.unload(adapter.name)
            raise

    async def _probe(self, name: str, base: str) -> None:
        """An adapter that answers like the base was not applied: it must not be called loaded."""
        prompt = self._config.probe_prompt
        mine = await self._server.fingerprint(name, prompt)
        if not mine.differs(await self._server.fingerprint(base, prompt)):
            raise AdapterFileError(
                f"its answer to the probe does not differ from the base model {base!r}: "
                "the server does not apply it, or it changes nothing"
            )

    def _failed(self, entry: _Entry, state: Literal["loading", "failed"], reason: str) -> None:
        if entry.reason != reason:
            _log.error("%s is not loaded: %s", entry.adapter.name, reason)
        entry.state, entry.reason = state, reason
        entry.failures += 1
        wait = min(self._config.interval_s * 2**entry.failures, _MAX_BACKOFF_S)
        entry.retry_at = self._clock() + wait

    async def _retire(self, held: dict[str, str], wanted: set[str]) -> None:
        """Unload what nothing wants after a grace, and delete its files after another.

        Requests that were admitted before a release moved may still be using the adapter, and the
        server reads its files again when it was evicted from memory. Adapters from elsewhere on
        the disk were not loaded by adapter-sync and are left alone.
        """
        ours = {name for name, path in held.items() if path == str(self._files.path(name))}
        present = ours | self._files.names()
        now = self._clock()
        self._unwanted_since = {
            name: self._unwanted_since.get(name, now) for name in present - wanted
        }
        for name, since in list(self._unwanted_since.items()):
            if now - since < self._config.retire_grace_s:
                continue
            if name in ours:
                await self._unload(name)
                self._unwanted_since[name] = now
            else:
                await asyncio.to_thread(self._files.remove, name)

    async def _unload(self, name: str) -> None:
        try:
            await self._server.unload(name)
        except ModelServerError as error:
            _log.warning("%s could not be unloaded: %s", name, error)
        else:
            _log.info("%s is unloaded", name)
