"""`python -m serving.reconciliation.sample --config reconciliation.json [--once]`.

Counters are gone when their process ends, so they are sampled all the time: every interval, one
object in the warehouse for each source.
"""

import argparse
import datetime as dt
import logging
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.errors import RegistryError
from registry.store import ObjectStore, open_store
from serving.reconciliation.config import ReconciliationConfig
from serving.reconciliation.samples import write_sample
from serving.reconciliation.scrape import scrape
from serving.settings import SettingsError, configure_logging, load

_log = logging.getLogger("serving.reconciliation.sample")


def main() -> int:
    """Sample until SIGTERM or SIGINT.

    Exit status 1: with `--once`, a sample could not be stored. Exit status 2: the configuration
    cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving.reconciliation.sample", description=main.__doc__
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see ReconciliationConfig"
    )
    parser.add_argument("--once", action="store_true", help="take one sample and end")
    arguments = parser.parse_args()
    configure_logging()
    try:
        config = load(arguments.config, ReconciliationConfig)
        store = open_store(config.warehouse_uri)
    except (SettingsError, RegistryError) as error:
        sys.stderr.write(f"sampler: {error}\n")
        return 2
    if arguments.once:
        return 0 if take(config, store) else 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(config, store, stop)
    return 0


def follow(config: ReconciliationConfig, store: ObjectStore, stop: threading.Event) -> None:
    """Take a sample every interval, and one at the end, until `stop` is set."""
    while not stop.is_set():
        take(config, store)
        stop.wait(config.interval_s)
    take(config, store)


def take(config: ReconciliationConfig, store: ObjectStore) -> bool:
    """Sample every source once, all at the same moment; whether all samples were stored.

    What fails is logged: the next sample has the same counters, or higher ones.
    """
    at = dt.datetime.now(dt.UTC)
    with ThreadPoolExecutor(len(config.sources)) as pool:
        samples = list(
            pool.map(lambda source: scrape(source, at, config.timeout_s), config.sources)
        )
    stored = True
    for sample in samples:
        for server in sample.servers:
            if not server.up:
                _log.warning("%s, %s: %s", sample.source, server.server, server.reason)
        try:
            write_sample(store, sample)
        except Exception as error:  # whatever a store raises
            _log.error("%s is not stored: %s: %s", sample.source, type(error).__name__, error)
            stored = False
    return stored


if __name__ == "__main__":
    sys.exit(main())
