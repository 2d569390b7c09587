"""The folder that names the servers of each pool, read again when it changes."""

import logging
from pathlib import Path

from registry import documents
from registry.errors import RegistryError
from registry.names import PoolName
from serving.pool_servers import PoolServers, ServerAddress

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


class ServerFolder:
    """Follows `<folder>/<pool>.json`.

    A file that cannot be read leaves the servers that it named before; a pool without a file has
    none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: dict[PoolName, _Stamp] = {}
        self._problems: dict[PoolName, str] = {}

    def changed(self, pool: PoolName) -> tuple[ServerAddress, ...] | None:
        """The servers of a pool, if they changed since the last look; else None."""
        path = self._folder / f"{pool}.json"
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._stamps.get(pool) == stamp:
                return None
            servers = documents.decode(path.read_bytes(), PoolServers, str(path)).servers
        except FileNotFoundError:
            self._stamps.pop(pool, None)
            return ()
        except (OSError, RegistryError) as error:
            self._report(pool, str(error))
            return None
        self._stamps[pool] = stamp
        self._problems.pop(pool, None)
        _log.info("pool %s: servers %s", pool, ", ".join(s.pod for s in servers) or "none")
        return servers

    def _report(self, pool: PoolName, problem: str) -> None:
        if self._problems.get(pool) != problem:
            self._problems[pool] = problem
            _log.error("servers of pool %s stay as they were: %s", pool, problem)
