"""`python -m serving.adapter_sync --config adapter-sync.json`."""

import argparse
import asyncio
import sys
from pathlib import Path

from registry.errors import RegistryError
from serving.adapter_sync.config import AdapterSyncConfig
from serving.adapter_sync.server import serve
from serving.settings import SettingsError, configure_logging, load


def main() -> int:
    """Run adapter-sync. Exit status 2: the configuration or the machine does not allow it."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.adapter_sync", description=serve.__doc__
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see AdapterSyncConfig"
    )
    configure_logging()
    try:
        asyncio.run(serve(load(parser.parse_args().config, AdapterSyncConfig)))
    except (SettingsError, RegistryError, OSError) as error:
        sys.stderr.write(f"adapter-sync: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
