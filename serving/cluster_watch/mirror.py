"""Writes what is in the cluster as the files that the router reads."""

import logging
from collections.abc import Mapping

from registry import documents
from registry.errors import RegistryError
from registry.names import PoolName
from serving.cluster_watch.endpoints import servers_of
from serving.cluster_watch.files import Folder
from serving.cluster_watch.follow import Objects
from serving.cluster_watch.metrics import WatchMetrics
from serving.cluster_watch.records import domain_of, record_of

_log = logging.getLogger(__name__)


class TenancyMirror:
    """`<domain>.json` for each ConfigMap with a tenancy record.

    One that cannot be used is not written. A file that it had before stays, as a bad edit must not
    lock a domain out; it goes with its ConfigMap.
    """

    def __init__(self, folder: Folder, metrics: WatchMetrics) -> None:
        self._folder = folder
        self._metrics = metrics
        self._problems: dict[str, str] = {}

    def apply(self, config_maps: Objects) -> None:
        """Make the files those of the ConfigMaps.

        Raises:
            OSError: A file cannot be written.
        """
        problems: dict[str, str] = {}
        domains: set[str] = set()
        for name, config_map in config_maps.items():
            domain = domain_of(name)
            try:
                content = record_of(config_map)
            except RegistryError as error:
                problems[name] = str(error)
            else:
                if domain is not None and self._folder.write(domain, content):
                    _log.info("domain %s: its record is written", domain)
            domains |= {domain} if domain is not None else set()
        for domain in self._folder.keep_only(domains):
            _log.info("domain %s: its record is gone", domain)
        self._say(problems)
        self._metrics.domains.set(len(config_maps) - len(problems))
        self._metrics.refused.set(len(problems))

    def _say(self, problems: dict[str, str]) -> None:
        for name, problem in problems.items():
            if self._problems.get(name) != problem:
                _log.error("tenancy record not used: %s", problem)
        self._problems = problems


class PoolMirror:
    """`<pool>.json` with the ready servers of each pool."""

    def __init__(
        self, folder: Folder, pools: Mapping[PoolName, str], metrics: WatchMetrics
    ) -> None:
        self._folder = folder
        self._pools = pools
        self._metrics = metrics

    def apply(self, slices: Objects) -> None:
        """Make the files those of the EndpointSlices.

        Raises:
            OSError: A file cannot be written.
        """
        for pool, service in self._pools.items():
            found = servers_of(slices.values(), service)
            self._metrics.servers.labels(pool).set(len(found.servers))
            if self._folder.write(pool, documents.encode(found)):
                pods = ", ".join(server.pod for server in found.servers)
                _log.info("pool %s: ready servers: %s", pool, pods or "none")
