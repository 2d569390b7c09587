"""The control plane of the local edge: `python -m serving.edge --config edge.json`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.edge.config import ConfigError, read_config
from serving.edge.controller import Controller, translate_with_egctl


def main(arguments: Sequence[str]) -> int:
    """Follow the routes folder until stopped; return the exit code."""
    parser = argparse.ArgumentParser(prog="serving.edge", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = read_config(options.config)
        config.xds_dir.mkdir(parents=True, exist_ok=True)
        config.routes_dir.mkdir(parents=True, exist_ok=True)
        Controller(config, translate_with_egctl(config.egctl)).run()
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
