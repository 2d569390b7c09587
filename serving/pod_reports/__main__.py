"""`python -m serving.pod_reports --config pod-reports.json [--once]`."""

import argparse
import datetime as dt
import logging
import signal
import sys
import threading
from pathlib import Path

from registry.errors import RegistryError
from registry.store import open_store
from serving.pod_reports.cluster import Cluster
from serving.pod_reports.config import PodReportsConfig
from serving.pod_reports.reporter import Reporter
from serving.settings import SettingsError, configure_logging, load

_log = logging.getLogger("serving.pod_reports")


def main() -> int:
    """Report pods until SIGTERM or SIGINT.

    Exit status 1: with `--once`, the look failed. Exit status 2: the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m serving.pod_reports", description=main.__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see PodReportsConfig"
    )
    parser.add_argument("--once", action="store_true", help="look once and end")
    arguments = parser.parse_args()
    configure_logging()
    try:
        config = load(arguments.config, PodReportsConfig)
        reporter = Reporter(Cluster(config), open_store(config.warehouse_uri), config.source)
    except (SettingsError, RegistryError) as error:
        sys.stderr.write(f"pod reports: {error}\n")
        return 2
    if arguments.once:
        return 0 if look(reporter) else 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(reporter, config.interval_s, stop)
    return 0


def follow(reporter: Reporter, interval_s: float, stop: threading.Event) -> None:
    """Look every interval, and once at the end, until `stop` is set."""
    while not stop.is_set():
        look(reporter)
        stop.wait(interval_s)
    look(reporter)


def look(reporter: Reporter) -> bool:
    """Look once; whether it is written down. What fails is logged: the next look catches up."""
    try:
        reporter.look(dt.datetime.now(dt.UTC))
    except Exception as error:  # whatever the API or the store raises
        reason = " ".join(str(error).split())
        _log.error("pods are not reported: %s: %s", type(error).__name__, reason)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
