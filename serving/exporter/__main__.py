"""`python -m serving.exporter --config exporter.json`."""

import argparse
import asyncio
import sys
from pathlib import Path

from registry.errors import RegistryError
from serving.exporter.config import ExporterConfig
from serving.exporter.server import serve
from serving.settings import SettingsError, configure_logging, load


def main() -> int:
    """Run the exporter. Exit status 2: the configuration or the machine does not allow it."""
    parser = argparse.ArgumentParser(prog="python -m serving.exporter", description=serve.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see ExporterConfig")
    configure_logging()
    try:
        asyncio.run(serve(load(parser.parse_args().config, ExporterConfig)))
    except (SettingsError, RegistryError, OSError) as error:
        sys.stderr.write(f"exporter: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
