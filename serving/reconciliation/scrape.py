"""Asks every server of a source for its counters."""

import datetime as dt
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import requests

from serving.reconciliation.adapter_sync import parse_adapter_sync
from serving.reconciliation.bifrost import parse_bifrost
from serving.reconciliation.config import (
    AdapterSyncSource,
    BifrostSource,
    RouterSource,
    VllmSource,
)
from serving.reconciliation.exposition import Counters, ExpositionError
from serving.reconciliation.router import parse_router
from serving.reconciliation.samples import Sample, ServerSample
from serving.reconciliation.vllm import parse_vllm

Source = VllmSource | BifrostSource | AdapterSyncSource | RouterSource
Parser = Callable[[str], Counters]

_PARALLEL: Final = 16
_PORTS: Final = {"http": 80, "https": 443}


def scrape(source: Source, at: dt.datetime, timeout_s: float) -> Sample:
    """Read the counters of all servers of a source, now.

    A server that does not answer, and a host that resolves to none, are in the sample and say so.
    """
    parser, path = _reader(source)
    host = urlsplit(source.url).hostname or ""
    try:
        addresses = _resolve(host)
    except OSError as error:
        down = _down(source.url, f"{host}: {error.strerror or error}")
        return Sample(source=source.name, at=at, servers=(down,))
    ask = partial(_ask, source.url + path, parser=parser, timeout_s=timeout_s)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return Sample(source=source.name, at=at, servers=tuple(pool.map(ask, addresses)))


def _reader(source: Source) -> tuple[Parser, str]:
    match source:
        case VllmSource():
            return parse_vllm, "/metrics"
        case BifrostSource():
            return partial(parse_bifrost, provider=source.provider), "/metrics"
        case RouterSource():
            return parse_router, "/metrics"
        case AdapterSyncSource():
            return parse_adapter_sync, "/status"


def _resolve(host: str) -> list[str]:
    """Addresses of a host: of one family, so that a server with two addresses is one."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    family = min(entry[0] for entry in entries)
    return sorted({str(entry[4][0]) for entry in entries if entry[0] == family})


def _ask(url: str, address: str, *, parser: Parser, timeout_s: float) -> ServerSample:
    parts = urlsplit(url)
    is_six = ipaddress.ip_address(address).version == 6
    server = f"{f'[{address}]' if is_six else address}:{parts.port or _PORTS[parts.scheme]}"
    try:
        response = requests.get(
            parts._replace(netloc=server).geturl(),
            headers={"Host": parts.netloc},
            timeout=timeout_s,
        )
        response.raise_for_status()
        response.encoding = "utf-8"
        counters = parser(response.text)
    except (requests.RequestException, ExpositionError) as error:
        return _down(server, str(error))
    return ServerSample(
        server=server,
        ended=dt.datetime.now(dt.UTC),
        up=True,
        started=counters.started,
        counters=counters.counters,
    )


def _down(server: str, reason: str) -> ServerSample:
    return ServerSample(server=server, ended=dt.datetime.now(dt.UTC), up=False, reason=reason)
