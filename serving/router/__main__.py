"""`python -m serving.router --config router.json`."""

import argparse
import asyncio
import sys
from pathlib import Path

from registry.errors import RegistryError
from serving.ledger import LedgerError
from serving.router.config import RouterConfig
from serving.router.server import serve
from serving.settings import SettingsError, configure_logging, load


def main() -> int:
    """Run the router. Exit status 2: the configuration or the machine does not allow it."""
    parser = argparse.ArgumentParser(prog="python -m serving.router", description=serve.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see RouterConfig")
    configure_logging()
    try:
        asyncio.run(serve(load(parser.parse_args().config, RouterConfig)))
    except (SettingsError, LedgerError, RegistryError, OSError) as error:
        sys.stderr.write(f"router: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
