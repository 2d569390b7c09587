"""`python -m serving.cluster_watch --config cluster-watch.json`."""

import argparse
import asyncio
import sys
from pathlib import Path

from serving.cluster_watch.config import ClusterWatchConfig
from serving.cluster_watch.server import serve
from serving.settings import SettingsError, configure_logging, load


def main() -> int:
    """Run cluster-watch. Exit status 2: the configuration or the machine does not allow it."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.cluster_watch", description=serve.__doc__
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file; see ClusterWatchConfig"
    )
    configure_logging()
    try:
        asyncio.run(serve(load(parser.parse_args().config, ClusterWatchConfig)))
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"cluster-watch: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
