"""`python -m serving.ledger.shipping --config shipper.json`.

SIGTERM or SIGINT: ship a last time, mark the writer as finished if its router has ended, and end.
In Kubernetes the shipper is a sidecar container (an init container that restarts always): those get
their SIGTERM after the router has drained and closed its ledger, so the last look sees all of it.
A shipper that is stopped while the router goes on finishes nothing, and ships again when it starts.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from serving.ledger.folder import LedgerError
from serving.ledger.shipping.config import ShipperConfig
from serving.ledger.shipping.shipper import Shipper
from serving.settings import SettingsError, configure_logging, load

_log = logging.getLogger("serving.ledger.shipping")


def main() -> int:
    """Run the shipper.

    Exit status 1: a segment is damaged, or the last look failed; what was not shipped is in the
    ledger. Exit status 2: the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving.ledger.shipping", description=__doc__.partition("\n")[2]
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see ShipperConfig")
    parser.add_argument("--once", action="store_true", help="ship what is there, and end")
    arguments = parser.parse_args()
    configure_logging()
    try:
        config = load(arguments.config, ShipperConfig)
    except SettingsError as error:
        sys.stderr.write(f"shipper: {error}\n")
        return 2
    shipper = Shipper(config)
    if arguments.once:
        return 0 if attempt(shipper) else 1
    return 0 if asyncio.run(follow(shipper, config.interval_s)) else 1


async def follow(shipper: Shipper, interval_s: float) -> bool:
    """Ship until SIGTERM or SIGINT, and then once more; whether that shipped everything."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        await asyncio.to_thread(attempt, shipper)
        await _sleep(stop, interval_s)
    return await asyncio.to_thread(attempt, shipper, last=True)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def attempt(shipper: Shipper, *, last: bool = False) -> bool:
    """Ship once; whether everything is shipped. Failures are logged: nothing leaves the ledger."""
    try:
        state = shipper.ship(last=last)
    except LedgerError as error:
        _log.warning("%s", error)
        return False
    except Exception as error:  # whatever a store or a disk raises
        _log.error("not shipped, it stays in the ledger: %s: %s", type(error).__name__, error)
        return False
    if last:
        _log.info("writer %s is %s", state.writer, "finished" if state.finished else "not finished")
    return not state.damaged


if __name__ == "__main__":
    sys.exit(main())
